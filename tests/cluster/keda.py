"""KEDA itself, as processes on this machine: its CRDs and roles from its own source, its operator and its metrics
adapter as its own service account.

The API server finds the adapter by an ExternalName Service: neither a Service nor an endpoint may have a loopback
address.
"""

from __future__ import annotations

import base64
from pathlib import Path

import urllib3

from tests.cluster.api import Object, documents
from tests.cluster.certificates import Pair
from tests.cluster.control_plane import ControlPlane
from tests.cluster.running import wait_for
from waypost.local.ports import choose_ports

NAMESPACE, ACCOUNT = "keda", "keda-operator"
ADAPTER_SERVICE = "keda-metrics-apiserver"
EXTERNAL_METRICS = "v1beta1.external.metrics.k8s.io"
FILES = (
    "general/namespace.yaml",
    "service_account/service_account.yaml",
    "rbac/role.yaml",
    "rbac/role_binding.yaml",
    "metrics-server/role.yaml",
    "metrics-server/role_binding.yaml",
)
START_SECONDS = 60.0


def start_keda(plane: ControlPlane) -> None:
    """CRDs, roles, operator, adapter; done when the API server serves external metrics by it."""
    ports = choose_ports(
        ["operator_metrics", "operator_probes", "operator_service", "adapter", "adapter_port"], {}, {}, []
    )
    config = plane.tools["keda-operator"].parent / "config"
    for crd in sorted((config / "crd" / "bases").glob("*.yaml")):
        plane.admin.apply_all(documents(crd))
    for file in FILES:
        plane.admin.apply_all(documents(config / file))
    certificates = _certificates(plane)
    kubeconfig = plane.kubeconfig("keda", plane.token(NAMESPACE, ACCOUNT), NAMESPACE)
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "POD_NAMESPACE": NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,  # else read from a pod's mounted account
        "WATCH_NAMESPACE": "",
    }
    plane.running.start("keda-operator", _operator(plane, certificates, ports), environment)
    probes = f"http://127.0.0.1:{ports['operator_probes']}/readyz"
    plane.running.wait("keda-operator", lambda: _answers(probes), START_SECONDS)
    plane.running.start("keda-adapter", _adapter(plane, certificates, kubeconfig, ports), environment)
    plane.admin.apply(_service())
    plane.admin.apply(_api_service(plane, ports["adapter"]))
    wait_for("external metrics are served by KEDA", lambda: _is_available(plane), START_SECONDS)


def _operator(plane: ControlPlane, certificates: Path, ports: dict[str, int]) -> list[str]:
    return [
        str(plane.tools["keda-operator"]), "--zap-log-level=info", "--zap-encoder=console",
        f"--cert-dir={certificates}",
        f"--metrics-bind-address=127.0.0.1:{ports['operator_metrics']}",
        f"--health-probe-bind-address=127.0.0.1:{ports['operator_probes']}",
        f"--metrics-service-bind-address=127.0.0.1:{ports['operator_service']}",
        "--enable-webhook-patching=false", "--enable-apiservice-patching=false",
    ]  # fmt: skip


def _adapter(plane: ControlPlane, certificates: Path, kubeconfig: Path, ports: dict[str, int]) -> list[str]:
    return [
        str(plane.tools["keda-adapter"]), "--bind-address=127.0.0.1", f"--secure-port={ports['adapter']}",
        f"--port={ports['adapter_port']}", f"--metrics-service-address=127.0.0.1:{ports['operator_service']}",
        f"--client-ca-file={certificates / 'ca.crt'}", f"--tls-cert-file={certificates / 'tls.crt'}",
        f"--tls-private-key-file={certificates / 'tls.key'}", f"--cert-dir={certificates}",
        f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}",
        f"--lister-kubeconfig={kubeconfig}",
    ]  # fmt: skip


def _certificates(plane: ControlPlane) -> Path:
    """For the adapter as a server of the API server, and for both as each other's gRPC peer."""
    name = f"{ADAPTER_SERVICE}.{NAMESPACE}.svc"
    pair: Pair = plane.authority.issue("keda", hosts=["127.0.0.1", "localhost", name])
    folder = plane.folder / "keda-certificates"
    folder.mkdir()
    for source, target in ((plane.authority.path, "ca.crt"), (pair.certificate, "tls.crt"), (pair.key, "tls.key")):
        (folder / target).touch(mode=0o600)
        (folder / target).write_bytes(source.read_bytes())
    return folder


def _service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": ADAPTER_SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }


def _api_service(plane: ControlPlane, port: int) -> Object:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": EXTERNAL_METRICS},
        "spec": {
            "service": {"name": ADAPTER_SERVICE, "namespace": NAMESPACE, "port": port},
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": base64.b64encode(plane.authority.path.read_bytes()).decode(),
        },
    }


def _is_available(plane: ControlPlane) -> bool:
    held = plane.admin.get("apiregistration.k8s.io/v1", "APIService", EXTERNAL_METRICS) or {}
    conditions = {one["type"]: one["status"] for one in held.get("status", {}).get("conditions", [])}
    return conditions.get("Available") == "True"


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=2.0).status == 200
    except urllib3.exceptions.HTTPError:
        return False
