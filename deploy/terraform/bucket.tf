# What the bucket is set to stands in bucket-*.json, as the S3 API names it: the tests apply the same files.
locals {
  encryption    = jsondecode(file("${path.module}/bucket-encryption.json"))
  lifecycle     = jsondecode(file("${path.module}/bucket-lifecycle.json"))
  public_access = jsondecode(file("${path.module}/bucket-public-access.json"))
  versioning    = jsondecode(file("${path.module}/bucket-versioning.json"))
}

resource "aws_s3_bucket" "waypost" {
  bucket = var.bucket
  tags   = var.tags
}

resource "aws_s3_bucket_public_access_block" "waypost" {
  bucket                  = aws_s3_bucket.waypost.id
  block_public_acls       = local.public_access.BlockPublicAcls
  ignore_public_acls      = local.public_access.IgnorePublicAcls
  block_public_policy     = local.public_access.BlockPublicPolicy
  restrict_public_buckets = local.public_access.RestrictPublicBuckets
}

resource "aws_s3_bucket_server_side_encryption_configuration" "waypost" {
  bucket = aws_s3_bucket.waypost.id
  dynamic "rule" {
    for_each = local.encryption.Rules
    content {
      apply_server_side_encryption_by_default {
        sse_algorithm = rule.value.ApplyServerSideEncryptionByDefault.SSEAlgorithm
      }
    }
  }
}

resource "aws_s3_bucket_versioning" "waypost" {
  bucket = aws_s3_bucket.waypost.id
  versioning_configuration {
    status = local.versioning.Status
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "waypost" {
  bucket = aws_s3_bucket.waypost.id
  dynamic "rule" {
    for_each = local.lifecycle.Rules
    content {
      id     = rule.value.ID
      status = rule.value.Status
      filter {
        prefix = rule.value.Filter.Prefix
      }
      dynamic "expiration" {
        for_each = try([rule.value.Expiration.Days], [])
        content {
          days = expiration.value
        }
      }
      dynamic "noncurrent_version_expiration" {
        for_each = try([rule.value.NoncurrentVersionExpiration.NoncurrentDays], [])
        content {
          noncurrent_days = noncurrent_version_expiration.value
        }
      }
      dynamic "abort_incomplete_multipart_upload" {
        for_each = try([rule.value.AbortIncompleteMultipartUpload.DaysAfterInitiation], [])
        content {
          days_after_initiation = abort_incomplete_multipart_upload.value
        }
      }
    }
  }
  depends_on = [aws_s3_bucket_versioning.waypost]
}

resource "aws_s3_bucket_policy" "only_over_tls" {
  bucket     = aws_s3_bucket.waypost.id
  policy     = templatefile("${path.module}/bucket-policy.json", local.names)
  depends_on = [aws_s3_bucket_public_access_block.waypost]
}
