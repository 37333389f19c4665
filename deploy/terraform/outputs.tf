output "bucket" {
  description = "For the chart: aws.bucket."
  value       = aws_s3_bucket.waypost.id
}

output "request_queue_url" {
  description = "For the chart: aws.requestQueueUrl."
  value       = aws_sqs_queue.requests.url
}

output "dead_letter_queue_url" {
  description = "For the chart: aws.deadLetterQueueUrl."
  value       = aws_sqs_queue.dead_letters.url
}

output "role_arns" {
  description = "By component. With `irsa` each goes onto that component's service account (serviceAccount.roleArn; keda: onto KEDA's operator, in KEDA's chart podIdentity.aws.irsa.roleArn), with `pod-identity` nowhere."
  value       = { for name, role in aws_iam_role.component : name => role.arn }
}
