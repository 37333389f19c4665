"""Every metric of every process: `waypost_<process>_<what>_seconds|_total|_bytes`, declared in this package only.

A file for each process says what it exposes, `histogram` counts durations, `declaring` turns a declaration into a
metric and a registry into what Prometheus scrapes. An id is never a label, and `model_version` is bounded: the series
of a release that is no longer served are removed.
"""

from __future__ import annotations

from waypost.metrics.declaring import exposition, negotiated
from waypost.metrics.gateway import MODEL_VERSIONS_KEPT, GatewayMetrics
from waypost.metrics.histogram import NO_VERSION, SECONDS_BUCKETS, version_label
from waypost.metrics.trainer import TrainerMetrics
from waypost.metrics.worker import Delivered, WorkerMetrics

__all__ = [
    "MODEL_VERSIONS_KEPT",
    "NO_VERSION",
    "SECONDS_BUCKETS",
    "Delivered",
    "GatewayMetrics",
    "TrainerMetrics",
    "WorkerMetrics",
    "exposition",
    "negotiated",
    "version_label",
]
