{{- define "waypost.hasMonitors" -}}
{{- if and .Values.observability.monitors.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}yes{{ end }}
{{- end }}

{{/* A PodMonitor for the pods of one component. (list . component ports) */}}
{{- define "waypost.podMonitor" -}}
{{- $root := index . 0 -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "waypost.fullname" $root }}-{{ index . 1 }}
  labels:
    {{- include "waypost.labels" (list $root (index . 1)) | nindent 4 }}
    {{- toYaml $root.Values.observability.monitors.labels | nindent 4 }}
spec:
  selector:
    matchLabels: {{- include "waypost.selector" (list $root (index . 1)) | nindent 6 }}
  podMetricsEndpoints:
    {{- range index . 2 }}
    - port: {{ . }}
      interval: {{ $root.Values.observability.monitors.interval }}
      relabelings: {{- include "waypost.jobLabel" (index $ 1) | nindent 8 }}
    {{- end }}
{{- end }}

{{/* The label by which rules and dashboards know our processes, whatever the release is called. (component) */}}
{{- define "waypost.jobLabel" -}}
- {targetLabel: job, replacement: waypost-{{ . }}}
{{- end }}
