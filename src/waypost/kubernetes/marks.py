"""The labels and annotations by which Waypost and the cluster know each other; the chart names the same."""

from __future__ import annotations

NAME_LABEL, COMPONENT_LABEL = "app.kubernetes.io/name", "app.kubernetes.io/component"
APP = "waypost"
JOB_LABEL = "batch.kubernetes.io/job-name"  # Kubernetes puts it on every pod of a Job

RELEASE = "waypost.dev/release"
MODEL_VERSION = "waypost.dev/model-version"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"  # of two ready pods the one that costs less goes first
PAUSED_SCALE_IN = "autoscaling.keda.sh/paused-scale-in"  # KEDA 2.17 and later
# Ours beside KEDA's: whose pause it is, and when it is over though nobody lives to lift it. Seconds since the epoch.
PAUSED_UNTIL = "waypost.dev/scale-in-paused-until"

CONTAINER = "kubectl.kubernetes.io/default-container"
INSTANTIATED = "cronjob.kubernetes.io/instantiate"  # as `kubectl create job --from` marks its jobs
