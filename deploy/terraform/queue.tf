# The attributes stand in queue.json and dead-letter-queue.json, as the SQS API names them: the tests apply the same files.
locals {
  queue             = jsondecode(templatefile("${path.module}/queue.json", local.names))
  dead_letter_queue = jsondecode(templatefile("${path.module}/dead-letter-queue.json", local.names))
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = local.dead_letter_queue_name
  message_retention_seconds = tonumber(local.dead_letter_queue.MessageRetentionPeriod)
  max_message_size          = tonumber(local.dead_letter_queue.MaximumMessageSize)
  sqs_managed_sse_enabled   = tobool(local.dead_letter_queue.SqsManagedSseEnabled)
  redrive_allow_policy      = local.dead_letter_queue.RedriveAllowPolicy
  tags                      = var.tags
}

resource "aws_sqs_queue" "requests" {
  name                       = local.request_queue_name
  visibility_timeout_seconds = tonumber(local.queue.VisibilityTimeout)
  message_retention_seconds  = tonumber(local.queue.MessageRetentionPeriod)
  max_message_size           = tonumber(local.queue.MaximumMessageSize)
  receive_wait_time_seconds  = tonumber(local.queue.ReceiveMessageWaitTimeSeconds)
  sqs_managed_sse_enabled    = tobool(local.queue.SqsManagedSseEnabled)
  redrive_policy             = local.queue.RedrivePolicy
  tags                       = var.tags

  depends_on = [aws_sqs_queue.dead_letters] # its ARN is put together from its name, which terraform cannot see through
}

resource "aws_sqs_queue_policy" "only_over_tls" {
  for_each  = { requests = aws_sqs_queue.requests, dead_letters = aws_sqs_queue.dead_letters }
  queue_url = each.value.url
  policy    = templatefile("${path.module}/queue-policy.json", { queue_arn = each.value.arn })
}
