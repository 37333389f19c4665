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
{{- $memory := include "waypost.bytes" .Values.triton.sharedMemory -}}
{{- range $name, $resources := dict "triton.resources" .Values.triton.resources "trainer.tritonResources" .Values.trainer.tritonResources -}}
{{- $limit := include "waypost.bytes" (dig "limits" "memory" "" $resources) -}}
{{- if and $limit $memory (le (float64 $limit) (float64 $memory)) -}}
{{- $problems = append $problems (printf "%s.limits.memory (%v) is not above triton.sharedMemory (%s), which lies in it: raise the limit" $name $resources.limits.memory $.Values.triton.sharedMemory) -}}
{{- end -}}
{{- end -}}
{{- range $name, $url := dict "requestQueueUrl" .Values.aws.requestQueueUrl "deadLetterQueueUrl" .Values.aws.deadLetterQueueUrl -}}
{{- $region := regexFind "^https://sqs[.][a-z0-9-]+[.]amazonaws[.]" $url | trimPrefix "https://sqs." | trimSuffix ".amazonaws." -}}
{{- if and $region $.Values.aws.region (ne $region $.Values.aws.region) -}}
{{- $problems = append $problems (printf "aws.%s is in %s and aws.region is %s: nobody could sign for it; make them one" $name $region $.Values.aws.region) -}}
{{- end -}}
{{- end -}}
{{- range $part := list "gateway" "worker" "trainer" -}}
{{- if and (ne $.Values.aws.identity "irsa") (get $.Values $part).serviceAccount.roleArn -}}
{{- $problems = append $problems (printf "%s.serviceAccount.roleArn is for aws.identity irsa, and that is %s: change one of them" $part $.Values.aws.identity) -}}
{{- end -}}
{{- end -}}
{{- if and (ne .Values.aws.identity "secret") .Values.aws.existingSecret -}}
{{- $problems = append $problems (printf "aws.existingSecret is for aws.identity secret, and that is %s: change one of them" .Values.aws.identity) -}}
{{- end -}}
{{- if and (eq .Values.aws.identity "irsa") .Values.aws.endpointUrl -}}
{{- $problems = append $problems "aws.endpointUrl would be asked for roles, too, and knows none of irsa's: leave it empty (VPC endpoints: private DNS), or set aws.identity to secret" -}}
{{- end -}}
{{- $remote := list -}}
{{- range $name, $entry := .Values.externalSecrets.remoteKeys -}}
{{- if $entry -}}{{- $remote = append $remote $name -}}{{- end -}}
{{- if and $entry (hasKey $.Values.keys $name) (dig $name "existingSecret" "" $.Values.keys) -}}
{{- $problems = append $problems (printf "keys.%s.existingSecret and externalSecrets.remoteKeys.%s are both set: External Secrets would take your Secret over, and remove it in the end; leave one empty" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.externalSecrets.enabled (not $remote) -}}
{{- $problems = append $problems "externalSecrets.enabled, and externalSecrets.remoteKeys names no entry: name those that the store has" -}}
{{- end -}}
{{- if and (not .Values.externalSecrets.enabled) $remote -}}
{{- $problems = append $problems (printf "externalSecrets.remoteKeys.%s is set and externalSecrets.enabled is not: enable it, or leave them empty" (join ", " $remote)) -}}
{{- end -}}
{{- if and .Values.gateway.autoscaling.enabled (not (dig "requests" "cpu" "" .Values.gateway.resources)) -}}
{{- $problems = append $problems "gateway.autoscaling counts percent of gateway.resources.requests.cpu, and there is none: set it, or switch gateway.autoscaling.enabled off" -}}
{{- end -}}
{{- with include "waypost.renamed" . -}}
{{- $problems = append $problems . -}}
{{- end -}}
{{- with .Values.worker.autoscaling -}}
{{- $most := int .maxReplicas -}}
{{- if gt (int .fallback.replicas) $most -}}
{{- $problems = append $problems (printf "worker.autoscaling.fallback.replicas (%d) is above maxReplicas (%d): raise that" (int .fallback.replicas) $most) -}}
{{- end -}}
{{- if .floor.enabled -}}
{{- if gt (int .floor.replicas) $most -}}
{{- $problems = append $problems (printf "worker.autoscaling.floor.replicas (%d) is above maxReplicas (%d): raise that" (int .floor.replicas) $most) -}}
{{- end -}}
{{- if eq .floor.start .floor.end -}}
{{- $problems = append $problems "worker.autoscaling.floor begins when it ends, which KEDA refuses: set start or end" -}}
{{- end -}}
{{- if and .arrivalRate.enabled (lt (int .fallback.replicas) (int .floor.replicas)) -}}
{{- $problems = append $problems (printf "worker.autoscaling.fallback.replicas (%d) is below floor.replicas (%d), and with arrivalRate the floor is part of what the fallback replaces: raise it" (int .fallback.replicas) (int .floor.replicas)) -}}
{{- end -}}
{{- end -}}
{{- if and .arrivalRate.enabled (not .arrivalRate.serverAddress) -}}
{{- $problems = append $problems "worker.autoscaling.arrivalRate.serverAddress is empty: name the Prometheus that scrapes the gateways, http://prometheus-operated.monitoring.svc:9090" -}}
{{- end -}}
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

{{/*
What an upgrade under another name would lose: keys that the chart made are found by their names, and roles by those of the
service accounts. Asked of the cluster, so nothing where charts are rendered without one.
*/}}
{{- define "waypost.renamed" -}}
{{- $fullname := include "waypost.fullname" . -}}{{- $was := "" -}}
{{- range dig "items" list (lookup "apps/v1" "Deployment" .Release.Namespace "") -}}
{{- $labels := default dict .metadata.labels -}}
{{- if and (eq (dig "app.kubernetes.io/name" "" $labels) $.Chart.Name) (eq (dig "app.kubernetes.io/instance" "" $labels) $.Release.Name) (eq (dig "app.kubernetes.io/component" "" $labels) "gateway") -}}
{{- $was = trimSuffix "-gateway" .metadata.name -}}
{{- end -}}
{{- end -}}
{{- $named := and .Values.keys.messageKeys.existingSecret .Values.keys.releaseKeys.existingSecret .Values.keys.apiKeys.existingSecret -}}
{{- if and $was (ne $was $fullname) (not $named) -}}
{{- printf "this release's objects are called %s-… and would be called %s-…: new keys would be made, the old ones deleted and with them the trust in every release of the bucket; set fullnameOverride to %s, or copy the three Secrets and name them (keys.*.existingSecret), and give the new service accounts their roles" $was $fullname $was -}}
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
