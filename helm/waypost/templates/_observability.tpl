{{- define "waypost.hasMonitors" -}}
{{- if and .Values.observability.monitors.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}yes{{ end }}
{{- end }}

{{/* Seconds between two scrapes. */}}
{{- define "waypost.scrapeSeconds" -}}
{{- $interval := .Values.observability.monitors.interval -}}
{{- mul (regexFind "^[0-9]+" $interval | int) (ternary 60 1 (hasSuffix "m" $interval)) -}}
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

{{/*
A file of rules for this install alone: its namespace beside every metric of ours, of the processes and of kube-state-metrics, and
its own names instead of `.*`. KEDA's metrics and cert-manager's are known by those names only: their exporters say the
namespace as `exported_namespace` unless told otherwise. (list . text)
*/}}
{{- define "waypost.rules" -}}
{{- $root := index . 0 -}}{{- $rules := fromYaml (index . 1) -}}
{{- range $group := $rules.groups }}
{{- range $rule := $group.rules }}
{{- $_ := set $rule "expr" (include "waypost.scoped" (list $root (include "waypost.late" (list $root $rule)))) }}
{{- if dig "annotations" "dashboard" "" $rule }}
{{- $_ := set $rule.annotations "dashboard" (include "waypost.dashboardUids" (list $root $rule.annotations.dashboard)) }}
{{- end }}
{{- with $root.Values.observability.rules.runbookUrl }}
{{- if $rule.alert }}
{{- $_ := set $rule.annotations "runbook_url" (replace "runbook.md" . $rule.annotations.runbook) }}
{{- $_ := unset $rule.annotations "runbook" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $rules }}
{{- end }}

{{/* An expression with the hours that this install's schedules allow. (list . rule) */}}
{{- define "waypost.late" -}}
{{- $rule := index . 1 -}}{{- $rules := (index . 0).Values.observability.rules -}}
{{- $late := dict "WaypostNightLate" $rules.nightLateHours "WaypostRefreshLate" $rules.refreshLateHours "WaypostReleaseStale" $rules.releaseStaleHours -}}
{{- $hours := get $late (default "" $rule.alert) -}}
{{- if $hours }}{{ regexReplaceAll "> [0-9]+ \\* 3600" $rule.expr (printf "> %d * 3600" (int $hours)) }}{{ else }}{{ $rule.expr }}{{ end }}
{{- end }}

{{/*
A text in which every dashboard has a uid of this install: Grafana knows one dashboard by each. 24 characters of the 40 that it
allows. (list . text)
*/}}
{{- define "waypost.dashboardUids" -}}
{{- $ours := include "waypost.clusterName" (index . 0) | sha256sum | trunc 8 -}}
{{- regexReplaceAll "(/d/|\"uid\": \")waypost-(model|night|queue|service)\\b" (index . 1) (printf "${1}waypost-%s-${2}" $ours) -}}
{{- end }}

{{- define "waypost.scoped" -}}
{{- $root := index . 0 -}}
{{- $metric := "\\b(waypost[_:][a-zA-Z0-9_:]+|kube_[a-z0-9_]+|process_[a-z_]+)" -}}
{{- $matcher := printf "{namespace=%q" $root.Release.Namespace -}}
{{- $expression := regexReplaceAll (print $metric "\\{") (index . 1) (print "${1}" $matcher ",") -}}
{{- $expression = regexReplaceAll (print $metric "([^a-zA-Z0-9_:{]|$)") $expression (print "${1}" $matcher "}${2}") -}}
{{- $expression | replace "\".*-" (printf "\"%s-" (include "waypost.fullname" $root)) | replace "keda-hpa-.*-" (printf "keda-hpa-%s-" (include "waypost.fullname" $root)) -}}
{{- end }}
