{{/* One for each component. EKS Pod Identity needs no annotation: its association names the account. (list . component values) */}}
{{- define "waypost.serviceAccount" -}}
{{- $root := index . 0 -}}{{- $account := (index . 2).serviceAccount -}}
{{- $annotations := deepCopy $account.annotations -}}
{{- if eq $root.Values.aws.identity "irsa" -}}
{{- $_ := set $annotations "eks.amazonaws.com/role-arn" $account.roleArn -}}
{{- $_ := set $annotations "eks.amazonaws.com/sts-regional-endpoints" "true" -}}
{{- end -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "waypost.fullname" $root }}-{{ index . 1 }}
  labels: {{- include "waypost.labels" (list $root (index . 1)) | nindent 4 }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
