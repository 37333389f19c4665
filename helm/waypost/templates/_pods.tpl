{{/* What Pod Security "restricted" asks for, and one user for all: worker and Triton share files. */}}
{{- define "waypost.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "waypost.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The nodes for which the images were built. */}}
{{- define "waypost.architecture" -}}
{{- with .Values.image.architecture }}kubernetes.io/arch: {{ . }}{{ end }}
{{- end }}

{{/* Of every pod. (list . component values-of-the-component on-gpu-nodes) */}}
{{- define "waypost.podBasics" -}}
{{- $root := index . 0 -}}{{- $values := index . 2 -}}
{{- $gpu := ternary (list (dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule")) list (index . 3) -}}
serviceAccountName: {{ include "waypost.fullname" $root }}-{{ index . 1 }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "waypost.podSecurityContext" $root | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- if and (index . 3) $root.Values.triton.runtimeClassName }}
runtimeClassName: {{ $root.Values.triton.runtimeClassName | quote }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with merge (deepCopy $values.nodeSelector) (include "waypost.architecture" $root | fromYaml) }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat $gpu $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Over zones and nodes, per revision, without ever keeping a pod from running. (list . component) */}}
{{- define "waypost.topologySpread" -}}
{{- range $i, $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
{{- if $i }}
{{ end -}}
- topologyKey: {{ $key }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "waypost.selector" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/* Resources with GPUs among the limits. (list resources gpus) */}}
{{- define "waypost.resources" -}}
{{- $resources := deepCopy (index . 0) -}}
{{- if index . 1 }}
{{- $_ := set $resources "limits" (merge (dict "nvidia.com/gpu" (index . 1)) (default dict $resources.limits)) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end }}

{{/* Settings of every process. */}}
{{- define "waypost.env" -}}
- {name: WAYPOST_EMBEDDED, value: never}
- {name: WAYPOST_LOG_STYLE, value: json}
- {name: WAYPOST_LOG_LEVEL, value: {{ .Values.logLevel }}}
- {name: WAYPOST_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: WAYPOST_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: WAYPOST_BUCKET, value: {{ .Values.aws.bucket | quote }}}
- {name: WAYPOST_RELEASE_KEYS_FILE, value: /etc/waypost/release-keys/trusted-keys.pem}
- {name: AWS_REGION, value: {{ .Values.aws.region | quote }}}
- {name: AWS_EC2_METADATA_DISABLED, value: "true"}
{{- with .Values.aws.endpointUrl }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- if eq .Values.aws.identity "secret" }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- {name: {{ . }}, valueFrom: {secretKeyRef: {name: {{ $.Values.aws.existingSecret | quote }}, key: {{ . }}}}}
{{- end }}
{{- end }}
{{- end }}

{{/* The operator's further settings; the schema refuses those that are the chart's. (list prefix settings) */}}
{{- define "waypost.settings" -}}
{{- $prefix := index . 0 -}}{{- $entries := list -}}
{{- range $name, $value := index . 1 -}}
{{- $entries = append $entries (dict "name" (print $prefix $name) "value" (include "waypost.setting" $value)) -}}
{{- end -}}
{{ toYaml $entries }}
{{- end }}

{{/* As the process reads it. YAML's numbers are floats here (1000000 would be 1e+06), and its on and off are booleans. */}}
{{- define "waypost.setting" -}}
{{- if kindIs "bool" . }}{{ ternary "on" "off" . }}
{{- else if not (kindIs "float64" .) }}{{ toString . }}
{{- else if eq (floor .) . }}{{ printf "%.0f" . }}
{{- else }}{{ toString . }}
{{- end }}
{{- end }}

{{/* A volume of keys, read-only, with the named files alone. (list volume secret files) */}}
{{- define "waypost.keysVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 | quote }}
    defaultMode: 0440
    items:
      {{- range index . 2 }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}

{{/*
Seconds in which a worker ends, at most: an answer of its Triton that it waits for; 25 to give back the rest and to send replies; and
the two threads that may be in the middle of loading a release. Names and defaults are those of src/waypost/settings.py.
*/}}
{{- define "waypost.workerDrain" -}}
{{- $answer := default 5 .Values.worker.settings.TRITON_TIMEOUT_SECONDS | float64 | ceil | int -}}
{{- $load := default 60 .Values.worker.settings.LOAD_TIMEOUT_SECONDS | float64 | ceil | int -}}
{{- add $answer 25 $load $load -}}
{{- end }}

{{/* Seconds of a pod's grace: what its parts need one after the other, and 5 to tell everybody. (seconds…) */}}
{{- define "waypost.grace" -}}
{{- $sum := 5 -}}{{- range . }}{{- $sum = add $sum (int .) }}{{- end -}}{{ $sum }}
{{- end }}
