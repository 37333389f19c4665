{{/*
Triton beside a worker or a trainer, as a native sidecar: it starts before the main container and ends after it, so that a
worker that drains still has its Triton. The keeper (src/waypost/worker/triton_keeper.py) runs it, and starts it anew when
it dies or when the worker, who asks it golden questions, wants so. Hence no liveness probe: Triton says READY over a dead
model. Its model control is reached from this pod alone. (dict "root" . "device" "gpu|cpu" "resources" {})
*/}}
{{- define "waypost.triton" -}}
{{- $triton := .root.Values.triton -}}
- name: triton
  image: {{ include "waypost.image" (list .root $triton.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  restartPolicy: Always
  args:
    - --repository=/models
    - --region-prefix=waypost-
    - --stop-seconds={{ $triton.stopSeconds }}
    - --
    - tritonserver
    - --model-repository=/models
    - --model-control-mode=explicit
    - --strict-readiness=false
    - --exit-timeout-secs={{ div (int $triton.stopSeconds) 2 }}
    - --http-address=127.0.0.1
    - --http-port=8000
    - --grpc-address=127.0.0.1
    - --grpc-port=8001
    - --metrics-address=0.0.0.0
    - --metrics-port=8002
    - --allow-gpu-metrics={{ eq .device "gpu" }}
  {{- if ne .device "gpu" }}
  env:
    - {name: NVIDIA_VISIBLE_DEVICES, value: void} # no driver is looked for
  {{- end }}
  ports:
    - {name: triton, containerPort: 8002}
  startupProbe: # two minutes: a GPU's libraries are gigabytes on a cold node
    exec:
      command: [python3, -Ic, "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v2/health/live', timeout=2)"]
    periodSeconds: 2
    timeoutSeconds: 5
    failureThreshold: 60
  resources: {{- include "waypost.resources" (list .resources (ternary (int $triton.gpus) 0 (eq .device "gpu"))) | nindent 4 }}
  securityContext: {{- include "waypost.securityContext" .root | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: shared-memory, mountPath: /dev/shm}
    - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "waypost.tritonVolumes" -}}
- name: models
  emptyDir: {medium: Memory, sizeLimit: {{ .Values.triton.repositorySize }}}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ .Values.triton.sharedMemory }}}
- name: tmp
  emptyDir: {sizeLimit: 10Gi}
{{- end }}
