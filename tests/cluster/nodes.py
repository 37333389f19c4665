"""Nodes that are nobody: kwok tells the API server that they are well and that their pods run."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.cluster.api import Object, documents, is_ready
from tests.cluster.control_plane import ControlPlane
from tests.cluster.running import wait_for
from waypost.local.ports import choose_ports

HERE = Path(__file__).parent
NODE_STAGES = ("node/fast/node-initialize.yaml", "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml")
ZONES = ("a", "b", "c")
GPU = "nvidia.com/gpu"
READY_SECONDS = 30.0


def start_nodes(plane: ControlPlane, night_log: Path) -> None:
    """A plain node and a GPU node in each of three zones. What the night's pods say is read from `night_log`."""
    port = choose_ports(["kwok"], {}, {}, [])["kwok"]
    pair = plane.authority.issue("kwok", ["system:masters"])
    plane.running.start(
        "kwok",
        [
            plane.tools["kwok"], f"--kubeconfig={plane.kubeconfig('kwok', pair)}", "--manage-all-nodes=true",
            f"--config={_configuration(plane, night_log)}", "--node-ip=127.0.0.1", f"--node-port={port}",
            f"--server-address=127.0.0.1:{port}", f"--tls-cert-file={pair.certificate}",
            f"--tls-private-key-file={pair.key}", "--cidr=10.244.0.1/16", "--node-lease-duration-seconds=40",
        ],
    )  # fmt: skip
    for zone in ZONES:
        for gpus in (0, 1):
            plane.admin.create(a_node(zone, gpus))
    wait_for("six nodes are ready", lambda: ready_nodes(plane) == 2 * len(ZONES), READY_SECONDS)


def ready_nodes(plane: ControlPlane) -> int:
    return sum(is_ready(node) for node in plane.admin.list("v1", "Node"))


def a_node(zone: str, gpus: int) -> Object:
    name = f"{'gpu' if gpus else 'plain'}-{zone}"
    resources = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
    }
    if gpus:
        resources[GPU] = "8"
        labels["nvidia.com/gpu.present"] = "true"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": [{"key": GPU, "value": "true", "effect": "NoSchedule"}] if gpus else []},
        "status": {"allocatable": resources, "capacity": resources},
    }


def _configuration(plane: ControlPlane, night_log: Path) -> Path:
    """The stages of the tests, kwok's own of nodes, and where a container's log is."""
    stages = plane.tools["kwok"].parent / "kustomize" / "stage"
    said = documents(HERE / "stages.yaml")
    said += [stage for name in NODE_STAGES for stage in documents(stages / name)]
    said.append(
        {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": {"name": "night"},
            "spec": {"logs": [{"containers": ["trainer"], "logsFile": str(night_log), "follow": True}]},
        }
    )
    path = plane.folder / "kwok.yaml"
    path.write_text(yaml.safe_dump_all(said))
    return path
