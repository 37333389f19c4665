{{/* Whether KEDA scales the workers. */}}
{{- define "waypost.hasKeda" -}}
{{- if and .Values.worker.autoscaling.enabled (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") }}yes{{ end }}
{{- end }}

{{/* Messages that one pod may hold: floor(0.7 × what it answers a second × seconds they may wait). keda/README.md */}}
{{- define "waypost.queueLength" -}}
{{- with .Values.worker.autoscaling -}}
{{- mulf 0.7 .requestsPerSecondPerPod .queueSeconds | floor | int -}}
{{- end -}}
{{- end }}

{{/*
What the formula must exceed to wake the first worker: activationQueueLength messages, in pods. Half a message more, for
neither fraction is exact; messages are whole.
*/}}
{{- define "waypost.activation" -}}
{{- divf (addf .Values.worker.autoscaling.activationQueueLength 0.5) (include "waypost.queueLength" .) | printf "%.6f" -}}
{{- end }}

{{/* Seconds over which arrivals are counted: a rate needs two scrapes, and four bear the loss of one. */}}
{{- define "waypost.arrivalsWindow" -}}
{{- max 60 (mul 4 (include "waypost.scrapeSeconds" . | int)) -}}
{{- end }}

{{- define "waypost.minWorkers" -}}
{{- with .Values.worker.autoscaling }}{{ ternary 0 (int .minReplicas) .scaleToZero }}{{ end -}}
{{- end }}

{{/* Pods that are wanted: for the rate of arrivals, for the depth, and at least the floor. */}}
{{- define "waypost.formula" -}}
{{- $scaling := .Values.worker.autoscaling -}}
{{- $wanted := printf "arrivals / %s + depth / %s" (mulf 0.7 $scaling.requestsPerSecondPerPod | toString) (include "waypost.queueLength" .) -}}
{{- if $scaling.floor.enabled }}max([{{ $wanted }}, floorhours]){{ else }}{{ $wanted }}{{ end }}
{{- end }}

{{/* Workers that an upgrade may take away before their successors are there: none, unless there is no GPU to spare for those. */}}
{{- define "waypost.maxUnavailable" -}}
{{- ternary 1 0 (has (toString .Values.worker.maxSurge) (list "0" "0%")) -}}
{{- end }}
