terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.8, < 7" # 6.8.0 is the first that lets a queue take messages of 1 MiB (queue.json)
    }
  }
}
