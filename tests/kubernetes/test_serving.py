"""Which pod serves which release, as an operator reads it."""

from __future__ import annotations

import json

import pytest

from waypost.kubernetes.memory import MemoryCluster
from waypost.kubernetes.protocols import PODS, Json
from waypost.kubernetes.serving import WORKERS, pods_serving, status_json, status_lines

NAMESPACE = "waypost"


def a_pod(name: str, release: str | None, ready: bool = True, **metadata: object) -> Json:
    marks = {} if release is None else {"waypost.dev/release": release, "waypost.dev/model-version": release[5]}
    return {
        "metadata": {"name": name, "labels": WORKERS, "annotations": marks, **metadata},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


@pytest.fixture
def cluster() -> MemoryCluster:
    memory = MemoryCluster()
    for pod in (
        a_pod("worker-a", "000002-new"),
        a_pod("worker-b", "000001-old"),
        a_pod("worker-c", None, ready=False),
        a_pod("worker-d", "000002-new", deletionTimestamp="2026-01-01T00:00:00Z"),
    ):
        memory.create(PODS, NAMESPACE, pod)
    memory.create(PODS, NAMESPACE, {"metadata": {"name": "gateway-a", "labels": {}}})
    memory.allowed = {("list", "pods")}
    return memory


def test_every_worker_is_told_with_its_release(cluster: MemoryCluster) -> None:
    assert status_lines(pods_serving(cluster, NAMESPACE), "000002-new") == [
        "POD       STATE        VERSION  RELEASE",
        "worker-a  ready        2        000002-new",
        "worker-b  ready        1        000001-old (not what the pointer says)",
        "worker-c  running      -        -",
        "worker-d  terminating  2        000002-new",
        "1 of 2 ready workers serve 000002-new",
    ]


def test_without_the_pointer_the_pods_are_told_as_they_are(cluster: MemoryCluster) -> None:
    lines = status_lines(pods_serving(cluster, NAMESPACE), None)
    assert lines[-1] == "2 of 4 workers are ready"
    assert "pointer" not in "\n".join(lines)


def test_the_same_as_json(cluster: MemoryCluster) -> None:
    said = json.loads(status_json(pods_serving(cluster, NAMESPACE), "000002-new"))
    assert said["pointer"] == "000002-new"
    assert [(pod["pod"], pod["ready"], pod["model_version"]) for pod in said["pods"]] == [
        ("worker-a", True, 2),
        ("worker-b", True, 1),
        ("worker-c", False, None),
        ("worker-d", False, 2),
    ]
