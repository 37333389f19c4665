"""Which pod serves which release: what each worker wrote on its pod, and whether Kubernetes calls that pod ready."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from waypost.kubernetes.marks import APP, COMPONENT_LABEL, MODEL_VERSION, NAME_LABEL, RELEASE
from waypost.kubernetes.protocols import PODS, Cluster, Json

WORKERS = {NAME_LABEL: APP, COMPONENT_LABEL: "worker"}
NOTHING = "-"


@dataclass(frozen=True)
class PodServes:
    pod: str
    ready: bool
    phase: str  # Kubernetes' own: Pending, Running, …; Terminating while it drains
    release: str | None  # of a pod that is not ready: what it served last
    model_version: int | None


def pods_serving(cluster: Cluster, namespace: str) -> list[PodServes]:
    """Raises ClusterUnavailable, ClusterRefused."""
    return [_serves(pod) for pod in cluster.list(PODS, namespace, WORKERS)]


def status_lines(pods: Sequence[PodServes], pointed_to: str | None) -> list[str]:
    """A table for people; `pointed_to` is the release of the pointer, where somebody could read it."""
    rows = [("POD", "STATE", "VERSION", "RELEASE"), *(_row(pod, pointed_to) for pod in pods)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    return [*(line.rstrip() for line in lines), _summary(pods, pointed_to)]


def status_json(pods: Sequence[PodServes], pointed_to: str | None) -> str:
    return json.dumps({"pointer": pointed_to, "pods": [asdict(pod) for pod in pods]})


def _row(pod: PodServes, pointed_to: str | None) -> tuple[str, str, str, str]:
    version = NOTHING if pod.model_version is None else str(pod.model_version)
    behind = " (not what the pointer says)" if pointed_to and pod.ready and pod.release != pointed_to else ""
    return pod.pod, "ready" if pod.ready else pod.phase.lower(), version, (pod.release or NOTHING) + behind


def _summary(pods: Sequence[PodServes], pointed_to: str | None) -> str:
    ready = [pod for pod in pods if pod.ready]
    if pointed_to is None:
        return f"{len(ready)} of {len(pods)} workers are ready"
    serving = sum(pod.release == pointed_to for pod in ready)
    return f"{serving} of {len(ready)} ready workers serve {pointed_to}"


def _serves(pod: Json) -> PodServes:
    metadata, status = pod["metadata"], pod.get("status", {})
    marks = metadata.get("annotations") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
    leaving = metadata.get("deletionTimestamp") is not None
    version = marks.get(MODEL_VERSION, "")
    return PodServes(
        pod=metadata["name"],
        ready=conditions.get("Ready") == "True" and not leaving,
        phase="Terminating" if leaving else status.get("phase", "Unknown"),
        release=marks.get(RELEASE),
        model_version=int(version) if version.isdecimal() else None,
    )
