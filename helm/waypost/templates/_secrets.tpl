{{/*
Keys that are made once. What the cluster has under that name is kept, byte for byte; so upgrades change nothing, and
only a render without a cluster makes new ones.
*/}}
{{- define "waypost.kept" -}}
{{- $found := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) -}}
{{- if $found }}{{ toYaml $found.data }}{{ end }}
{{- end }}

{{/*
Whether the cluster has it and it is to be kept. Then it is in no release of Helm's any more, so that neither a rollback
(which would put rotated keys back) nor an uninstall touches it. (list . name)
*/}}
{{- define "waypost.leftAlone" -}}
{{- $found := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) -}}
{{- if eq (dig "metadata" "annotations" "helm.sh/resource-policy" "" $found) "keep" }}yes{{ end }}
{{- end }}

{{/*
A hook belongs to no release either. Of the policies of deleting hooks this one never meets a Secret; none at all would
mean before-hook-creation. What a release holds already becomes a kept one first, else Helm would delete it. (list . found)
*/}}
{{- define "waypost.keepAnnotations" -}}
{{- if (index . 0).Values.keys.keep -}}
annotations:
  helm.sh/resource-policy: keep
  {{- if not (index . 1) }}
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-delete-policy: hook-failed
  {{- end }}
{{- end }}
{{- end }}

{{/*
The public half (SubjectPublicKeyInfo, PEM) of a private Ed25519 key (PKCS8, PEM). No template function gives it, but a
certificate made with that key holds it: 12 bytes that say "an Ed25519 key of 32 bytes follows", and those 32.
*/}}
{{- define "waypost.publicHalf" -}}
{{- $certificate := (genSelfSignedCertWithKey "waypost" nil nil 1 .).Cert -}}
{{- $der := regexReplaceAll "-----[A-Z ]+-----|\\s" $certificate "" | b64dec -}}
{{- $before := index (splitList "302a300506032b6570032100" (printf "%x" $der)) 0 -}}
{{- $start := div (len $before) 2 | int -}}
-----BEGIN PUBLIC KEY-----
{{ substr $start (add $start 44 | int) $der | b64enc }}
-----END PUBLIC KEY-----
{{- end }}

{{/* An ExternalSecret that fills a Secret with the fields of one entry. (list . component remoteKey secret) */}}
{{- define "waypost.externalSecret" -}}
{{- $root := index . 0 -}}{{- $secrets := $root.Values.externalSecrets -}}
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: {{ index . 3 | quote }}
  labels: {{- include "waypost.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  refreshInterval: {{ $secrets.refreshInterval }}
  secretStoreRef: {kind: {{ $secrets.store.kind }}, name: {{ $secrets.store.name | quote }}}
  target: {name: {{ index . 3 | quote }}, creationPolicy: Owner}
  dataFrom:
    - extract: {key: {{ index . 2 | quote }}}
{{- end }}

{{- define "waypost.hasExternalSecrets" -}}
{{- if and .Values.externalSecrets.enabled (.Capabilities.APIVersions.Has "external-secrets.io/v1") }}yes{{ end }}
{{- end }}
