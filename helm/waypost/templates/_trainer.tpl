{{/*
A Job of the trainer's image with a Triton beside it: the night, or a refresh between nights. Metrics are the night's alone: a
refresh is over before anybody scrapes it. (dict "root" . "work" "night|refresh" "values" {deadline, retries, resources} "gpus" 0)
*/}}
{{- define "waypost.trainerJob" -}}
{{- $root := .root -}}{{- $trainer := $root.Values.trainer -}}
metadata:
  labels: {{- include "waypost.labels" (list $root "trainer") | nindent 4 }}
spec:
  backoffLimit: {{ .values.backoffLimit }}
  activeDeadlineSeconds: {{ .values.activeDeadlineSeconds }}
  podFailurePolicy:
    rules:
      - action: FailJob # 2 usage, 3 refused by gate or data contract, 4 preflight findings, 78 settings: the same the next time
        onExitCodes: {containerName: trainer, operator: In, values: [2, 3, 4, 78]}
      - action: Ignore # a drained node is no failure; the next pod goes on where this one stopped
        onPodConditions: [{type: DisruptionTarget}]
  template:
    metadata:
      labels: {{- include "waypost.podLabels" (list $root "trainer") | nindent 8 }}
      annotations:
        eks.amazonaws.com/skip-containers: triton
        {{- with $trainer.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      restartPolicy: Never
      # the trainer ends at once and a night that is tried again goes on where it stopped; then Triton ends
      terminationGracePeriodSeconds: {{ include "waypost.grace" (list 5 $root.Values.triton.stopSeconds) }}
      {{- include "waypost.podBasics" (list $root "trainer" $trainer (gt (int .gpus) 0)) | nindent 6 }}
      initContainers:
        {{- include "waypost.triton" (dict "root" $root "device" "cpu" "resources" $trainer.tritonResources) | nindent 8 }}
      containers:
        - name: trainer
          image: {{ include "waypost.image" (list $root $trainer.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [{{ .work }}]
          env:
            {{- include "waypost.env" $root | nindent 12 }}
            - {name: WAYPOST_POSTGRES_DSN, valueFrom: {secretKeyRef: {name: {{ $root.Values.postgres.existingSecret | quote }}, key: {{ $root.Values.postgres.secretKey | quote }}}}}
            {{- if $root.Values.postgres.rootCertificates }}
            - {name: PGSSLROOTCERT, value: /etc/waypost/postgres/ca.crt}
            {{- end }}
            {{- if $root.Values.postgres.mapping }}
            - {name: WAYPOST_MAPPING_FILE, value: /etc/waypost/mapping/mapping.toml}
            {{- end }}
            - {name: WAYPOST_TRITON_URL, value: "127.0.0.1:8001"}
            - {name: WAYPOST_EXPORTER_REPOSITORY, value: /models}
            - {name: WAYPOST_EXPORTER_TRITON_DEVICE, value: cpu}
            - {name: WAYPOST_EXPORTER_SIGNING_KEY_FILE, value: /etc/waypost/release-keys/signing-key.pem}
            - {name: WAYPOST_TRAINER_DEVICE, value: {{ ternary "cuda" "cpu" (gt (int .gpus) 0) }}}
            {{- if eq .work "night" }}
            - {name: WAYPOST_TRAINER_METRICS_HOST, value: 0.0.0.0}
            - {name: WAYPOST_TRAINER_METRICS_PORT, value: "9090"}
            - {name: WAYPOST_TRAINER_METRICS_LINGER_SECONDS, value: {{ mul 3 (include "waypost.scrapeSeconds" $root | int) | quote }}} # three scrapes hear how the night ended
            {{- end }}
            {{- with $trainer.settings }}
            {{- include "waypost.settings" (list "" .) | nindent 12 }}
            {{- end }}
            {{- with $trainer.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- if eq .work "night" }}
          ports:
            - {name: metrics, containerPort: 9090}
          {{- end }}
          resources: {{- include "waypost.resources" (list .values.resources (int .gpus)) | nindent 12 }}
          securityContext: {{- include "waypost.securityContext" $root | nindent 12 }}
          volumeMounts:
            - {name: models, mountPath: /models}
            - {name: release-keys, mountPath: /etc/waypost/release-keys, readOnly: true}
            {{- if $root.Values.postgres.rootCertificates }}
            - {name: postgres, mountPath: /etc/waypost/postgres, readOnly: true}
            {{- end }}
            {{- if $root.Values.postgres.mapping }}
            - {name: mapping, mountPath: /etc/waypost/mapping, readOnly: true}
            {{- end }}
            - {name: tmp, mountPath: /tmp}
            {{- with $trainer.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        {{- include "waypost.tritonVolumes" $root | nindent 8 }}
        {{- include "waypost.keysVolume" (list "release-keys" (include "waypost.releaseKeysSecret" $root) (list "signing-key.pem" "trusted-keys.pem")) | nindent 8 }}
        {{- if $root.Values.postgres.rootCertificates }}
        - name: postgres
          configMap: {name: {{ $root.Values.postgres.rootCertificates | quote }}, items: [{key: ca.crt, path: ca.crt}]}
        {{- end }}
        {{- if $root.Values.postgres.mapping }}
        - name: mapping
          configMap: {name: {{ include "waypost.fullname" $root }}-mapping}
        {{- end }}
        {{- with $trainer.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}
