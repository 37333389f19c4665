{{/* Pods that are not ready may always be evicted: they serve nobody, and would hold up a drain. (list . component values) */}}
{{- define "waypost.podDisruptionBudget" -}}
{{- $root := index . 0 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "waypost.fullname" $root }}-{{ index . 1 }}
  labels: {{- include "waypost.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  maxUnavailable: {{ (index . 2).podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "waypost.selector" (list $root (index . 1)) | nindent 6 }}
{{- end }}
