{{/*
Prefix of every object: 40 characters, so that keda-hpa-<prefix>-worker and CronJob names fit. A longer one is cut and gets six
of its hash: two that begin alike stay two.
*/}}
{{- define "waypost.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = default $full .Values.fullnameOverride -}}
{{- if gt (len $full) 40 -}}
{{- $full = printf "%s-%s" (trunc 33 $full | trimSuffix "-") (sha256sum $full | trunc 6) -}}
{{- end -}}
{{- trimSuffix "-" $full -}}
{{- end }}

{{/* Of what is not in the namespace. Neither name has a dot, so no two installs share it. */}}
{{- define "waypost.clusterName" -}}
{{ .Release.Namespace }}.{{ include "waypost.fullname" . }}
{{- end }}

{{/* Labels that never change: what selectors use. (list . component) */}}
{{- define "waypost.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* (list . component) */}}
{{- define "waypost.labels" -}}
{{- $root := index . 0 -}}
{{ include "waypost.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of pods: a new version of the chart alone is no reason to replace them. (list . component) */}}
{{- define "waypost.podLabels" -}}
{{ include "waypost.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* registry/repository:tag@digest. (list . image) */}}
{{- define "waypost.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- $name := printf "%s/%s:%s" (trimSuffix "/" $root.Values.image.registry) $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- if $image.digest }}{{ printf "%s@%s" $name $image.digest }}{{ else }}{{ $name }}{{ end }}
{{- end }}

{{- define "waypost.replyDomain" -}}
{{ include "waypost.fullname" . }}-gateway-replies.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* Names of Secrets: the one that was named, else ours. */}}
{{- define "waypost.messageKeysSecret" -}}
{{ default (printf "%s-message-keys" (include "waypost.fullname" .)) .Values.keys.messageKeys.existingSecret }}
{{- end }}
{{- define "waypost.releaseKeysSecret" -}}
{{ default (printf "%s-release-keys" (include "waypost.fullname" .)) .Values.keys.releaseKeys.existingSecret }}
{{- end }}
{{- define "waypost.apiKeysSecret" -}}
{{ default (printf "%s-api-keys" (include "waypost.fullname" .)) .Values.keys.apiKeys.existingSecret }}
{{- end }}

{{/* What starts a night of this release. */}}
{{- define "waypost.night" -}}
waypost night --now --namespace {{ .Release.Namespace }} --cron-job {{ include "waypost.fullname" . }}-trainer
{{- end }}
