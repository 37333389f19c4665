{{/* Head of a NetworkPolicy for one component. (list . component) */}}
{{- define "waypost.networkPolicy" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "waypost.fullname" $root }}-{{ index . 1 }}
  labels: {{- include "waypost.labels" (list $root (index . 1)) | nindent 4 }}
{{- end }}

{{/* Pods of one component, as a peer. (list . component) */}}
{{- define "waypost.peer" -}}
- podSelector:
    matchLabels: {{- include "waypost.selector" . | nindent 6 }}
{{- end }}

{{/*
The peers of one edge. To Kubernetes none are everybody, so none are refused, also where nobody looked at the schema.
(list . edge)
*/}}
{{- define "waypost.peers" -}}
{{- $peers := get (index . 0).Values.networkPolicy (index . 1) -}}
{{- if not $peers -}}
{{- printf "\n\nnetworkPolicy.%s is empty, which to Kubernetes is everybody: name peers; to close the edge name one that is nobody, [{podSelector: {matchLabels: {waypost.dev/nobody: here}}}]\n" (index . 1) | fail -}}
{{- end -}}
{{ toYaml $peers }}
{{- end }}

{{- define "waypost.toDns" -}}
- to: {{- include "waypost.peers" (list . "dns") | nindent 4 }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}

{{/* S3, SQS and STS; for EKS Pod Identity the agent of the node, too. */}}
{{- define "waypost.toAws" -}}
- to: {{- include "waypost.peers" (list . "aws") | nindent 4 }}
  ports: [{port: {{ include "waypost.awsPort" . }}}]
{{- if eq .Values.aws.identity "podIdentity" }}
- to: [{ipBlock: {cidr: 169.254.170.23/32}}]
  ports: [{port: 80}]
{{- end }}
{{- end }}

{{/* 443, unless an endpoint of one's own names another. */}}
{{- define "waypost.awsPort" -}}
{{- $host := (urlParse (default "https://amazonaws.com" .Values.aws.endpointUrl)).host -}}
{{- $named := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- default (ternary "80" "443" (hasPrefix "http:" .Values.aws.endpointUrl)) $named -}}
{{- end }}
