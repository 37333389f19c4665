"""What the cluster is told about this worker; nothing outside a cluster."""

from __future__ import annotations

import os

from waypost.clock import SystemClock
from waypost.kubernetes.telling import ClusterTeller, Facts, open_teller
from waypost.metrics import WorkerMetrics
from waypost.settings import SharedSettings, WorkerSettings
from waypost.worker.follow import ReleaseFollower


def teller_of(
    follower: ReleaseFollower, metrics: WorkerMetrics, settings: WorkerSettings, shared: SharedSettings
) -> ClusterTeller | None:
    def facts() -> Facts:
        return Facts(follower.release, follower.model_version, follower.on_trial, metrics.answered_so_far())

    return open_teller(shared, settings.scaled_object, os.environ, facts, SystemClock())
