{{/* What is missing or contradicts itself, all of it at once, each with its remedy. */}}
{{- define "waypost.check" -}}
{{- $problems := list -}}
{{- if not .Values.image.registry -}}
{{- $problems = append $problems "image.registry is empty: `make images ARGS=REGISTRY` builds and pushes the four images; name that registry" -}}
{{- end -}}
{{- if not .Values.postgres.existingSecret -}}
{{- $problems = append $problems "postgres.existingSecret is empty: `kubectl create secret generic waypost-postgres --from-literal=dsn=postgresql://reader:…@host/app`, and name it (deploy/postgres/reader.sql makes that role)" -}}
{{- end -}}
{{- if not .Values.aws.region -}}
{{- $problems = append $problems "aws.region is empty: the region of the queue and the bucket, eu-west-1" -}}
{{- end -}}
{{- if not .Values.aws.bucket -}}
{{- $problems = append $problems "aws.bucket is empty: deploy/terraform makes it, `terraform output bucket` names it" -}}
{{- end -}}
{{- if not .Values.aws.requestQueueUrl -}}
{{- $problems = append $problems "aws.requestQueueUrl is empty: deploy/terraform makes it, `terraform output request_queue_url` names it" -}}
{{- end -}}
{{- if and (eq .Values.aws.identity "irsa") (not (and .Values.gateway.serviceAccount.roleArn .Values.worker.serviceAccount.roleArn .Values.trainer.serviceAccount.roleArn)) -}}
{{- $problems = append $problems "aws.identity is irsa and a role is missing: set serviceAccount.roleArn of gateway, worker and trainer (`terraform output role_arns`)" -}}
{{- end -}}
{{- if and (eq .Values.aws.identity "secret") (not .Values.aws.existingSecret) -}}
{{- $problems = append $problems "aws.identity is secret and aws.existingSecret is empty: name the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" -}}
{{- end -}}
{{- if and .Values.externalSecrets.enabled (not .Values.externalSecrets.store.name) -}}
{{- $problems = append $problems "externalSecrets.store.name is empty: name the store that holds the secrets" -}}
{{- end -}}
{{- if and .Values.externalSecrets.enabled (not (include "waypost.hasExternalSecrets" .)) -}}
{{- $problems = append $problems "externalSecrets.enabled, and this cluster has no external-secrets.io/v1: install the External Secrets Operator (0.16 or newer) first, or name Secrets of your own (with `helm template`: --api-versions external-secrets.io/v1)" -}}
{{- end -}}
{{- $fullname := include "waypost.fullname" . -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $fullname) -}}
{{- $problems = append $problems (printf "objects would be called %s-…, which no Service may be: set fullnameOverride to lower-case letters, digits and dashes, a letter first" $fullname) -}}
{{- end -}}
{{- $limit := include "waypost.bytes" (dig "limits" "memory" "" .Values.worker.resources) -}}
{{- $repository := include "waypost.bytes" .Values.triton.repositorySize -}}
{{- if and $limit $repository (le (float64 $limit) (float64 $repository)) -}}
{{- $problems = append $problems (printf "worker.resources.limits.memory (%v) is not above triton.repositorySize (%s): the repository lies in the memory of the worker, who writes it; raise the limit" .Values.worker.resources.limits.memory .Values.triton.repositorySize) -}}
{{- end -}}
{{- with .Values.worker.autoscaling -}}
{{- if lt (int .maxReplicas) (int .minReplicas) -}}
{{- $problems = append $problems (printf "worker.autoscaling.maxReplicas (%d) is below minReplicas (%d): raise it" (int .maxReplicas) (int .minReplicas)) -}}
{{- end -}}
{{- if lt (include "waypost.queueLength" $ | int) 1 -}}
{{- $problems = append $problems "worker.autoscaling: 0.7 × requestsPerSecondPerPod × queueSeconds is below one message: measure the pod anew, or allow a longer wait" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.autoscaling.enabled (lt (int .Values.gateway.autoscaling.maxReplicas) (int .Values.gateway.autoscaling.minReplicas)) -}}
{{- $problems = append $problems "gateway.autoscaling.maxReplicas is below minReplicas: raise it" -}}
{{- end -}}
{{- with $problems -}}
{{- printf "\n\nWaypost needs:\n  - %s\n\nAll values: `helm show readme`.\n" (join "\n  - " .) | fail -}}
{{- end -}}
{{- end }}

{{/* A quantity in bytes; nothing for one that is written otherwise than with a unit of 1000 or 1024. */}}
{{- define "waypost.bytes" -}}
{{- $quantity := include "waypost.setting" . -}}
{{- if regexMatch "^[0-9]+([.][0-9]+)?([kKMGT]i?)?$" $quantity -}}
{{- $units := dict "" 1 "k" 1e3 "K" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (regexFind "^[0-9.]+" $quantity) (get $units (regexFind "[A-Za-z]*$" $quantity)) | printf "%.0f" -}}
{{- end -}}
{{- end }}
