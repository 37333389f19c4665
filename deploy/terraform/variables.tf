variable "name" {
  description = "First part of every name. The queues become <name>-requests and <name>-requests-dead."
  type        = string
  default     = "waypost"
}

variable "bucket" {
  description = "The bucket's name, unique in all of AWS."
  type        = string
}

variable "namespace" {
  description = "The namespace of the Helm release."
  type        = string
  default     = "waypost"
}

variable "fullname" {
  description = "What the chart calls its objects: `waypost`, or `<release>-waypost` where the release is called otherwise."
  type        = string
  default     = "waypost"
}

variable "keda" {
  description = "Namespace and service account of KEDA's operator, which measures the queue. null: that account has an identity already (README.md)."
  type        = object({ namespace = string, service_account = string })
  default     = { namespace = "keda", service_account = "keda-operator" }
}

variable "identity" {
  description = "How pods get their role: `pod-identity` (give cluster_name) or `irsa` (give oidc_provider_arn). The chart's aws.identity says the same: podIdentity or irsa."
  type        = string
  default     = "pod-identity"
  validation {
    condition     = contains(["irsa", "pod-identity"], var.identity)
    error_message = "identity is irsa or pod-identity."
  }
}

variable "oidc_provider_arn" {
  description = "The cluster's IAM OIDC provider; for `irsa`."
  type        = string
  default     = ""
}

variable "cluster_name" {
  description = "The EKS cluster; for `pod-identity`."
  type        = string
  default     = ""
}

variable "reply_queues" {
  description = "Whether workers reply over SQS instead of straight to the gateway's pod."
  type        = bool
  default     = false
}

variable "operators" {
  description = "ARNs of the people or roles who may roll back, pin and look: they may assume the role <name>-operator. None: no such role."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "On everything."
  type        = map(string)
  default     = {}
}
