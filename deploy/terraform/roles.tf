# One role per component. What each may do stands in policies/*.json, exact actions only: the tests apply the same files.
data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  request_queue_name     = "${var.name}-requests"
  dead_letter_queue_name = "${var.name}-requests-dead"
  sqs                    = "arn:${data.aws_partition.this.partition}:sqs:${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}"
  names = {
    bucket_arn            = "arn:${data.aws_partition.this.partition}:s3:::${var.bucket}"
    request_queue_arn     = "${local.sqs}:${local.request_queue_name}"
    dead_letter_queue_arn = "${local.sqs}:${local.dead_letter_queue_name}"
    reply_queues_arn      = "${local.sqs}:${local.request_queue_name}-replies-*" # one queue per gateway pod, named by it
  }
  accounts = {
    gateway = { namespace = var.namespace, service_account = "${var.fullname}-gateway" }
    worker  = { namespace = var.namespace, service_account = "${var.fullname}-worker" }
    trainer = { namespace = var.namespace, service_account = "${var.fullname}-trainer" }
    keda    = var.keda
  }
  components  = { for name, account in local.accounts : name => account if account != null }
  cluster_arn = "arn:${data.aws_partition.this.partition}:eks:${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}:cluster/${var.cluster_name}"
}

resource "aws_iam_role" "component" {
  for_each = local.components
  name     = "${var.name}-${each.key}"
  tags     = var.tags
  assume_role_policy = templatefile("${path.module}/trust/${var.identity}.json", merge(each.value, {
    oidc_provider_arn = var.oidc_provider_arn
    oidc_provider     = replace(var.oidc_provider_arn, "/^.*oidc-provider//", "")
    account           = data.aws_caller_identity.this.account_id
    cluster_arn       = local.cluster_arn
  }))

  lifecycle {
    precondition {
      condition     = var.identity == "irsa" ? var.oidc_provider_arn != "" : var.cluster_name != ""
      error_message = "irsa needs oidc_provider_arn, pod-identity needs cluster_name."
    }
  }
}

resource "aws_iam_role_policy" "component" {
  for_each = local.components
  name     = each.key
  role     = aws_iam_role.component[each.key].id
  policy   = templatefile("${path.module}/policies/${each.key}.json", local.names)
}

resource "aws_iam_role_policy" "reply_queue" {
  for_each = var.reply_queues ? toset(["gateway", "worker"]) : toset([])
  name     = "${each.key}-reply-queue"
  role     = aws_iam_role.component[each.key].id
  policy   = templatefile("${path.module}/policies/${each.key}-reply-queue.json", local.names)
}

resource "aws_eks_pod_identity_association" "component" {
  for_each        = var.identity == "pod-identity" ? local.components : {}
  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.component[each.key].arn
}

resource "aws_iam_role" "operator" {
  count = length(var.operators) > 0 ? 1 : 0
  name  = "${var.name}-operator"
  tags  = var.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { AWS = var.operators }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "operator" {
  count  = length(var.operators) > 0 ? 1 : 0
  name   = "operator"
  role   = aws_iam_role.operator[0].id
  policy = templatefile("${path.module}/policies/operator.json", local.names)
}
