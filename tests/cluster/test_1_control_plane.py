"""The control plane of the tests does what a real one does; before anything of ours is laid on it."""

from __future__ import annotations

import pytest

from tests.cluster.api import ApiError, Object, is_ready
from tests.cluster.control_plane import ControlPlane
from tests.cluster.running import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
NAMESPACE = "proving"


@pytest.fixture(scope="module")
def proving(nodes: ControlPlane) -> ControlPlane:
    nodes.admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    wait_for(
        "the namespace has its service account",
        lambda: nodes.admin.get("v1", "ServiceAccount", "default", NAMESPACE),
        30,
    )
    return nodes


def a_deployment(replicas: int, gpus: int) -> Object:
    labels = {"app": "proving"}
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "it",
        "image": "registry.invalid/it:1",
        "securityContext": restricted,
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {},
    }
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}] if gpus else []
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "it", "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "tolerations": tolerations},
            },
        },
    }


def test_a_deployments_pods_are_placed_on_gpu_nodes_and_become_ready(proving: ControlPlane) -> None:
    proving.admin.apply(a_deployment(3, 1))

    def placed() -> bool:
        pods = proving.admin.list("v1", "Pod", NAMESPACE)
        return len(pods) == 3 and all(is_ready(p) and p["spec"]["nodeName"].startswith("gpu-") for p in pods)

    wait_for("three ready pods on GPU nodes", placed, 60)


def test_a_pod_that_is_not_restricted_is_refused(proving: ControlPlane) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "it", "image": "registry.invalid/it:1"}]},
    }
    with pytest.raises(ApiError, match="violates PodSecurity"):
        proving.admin.create(pod)


def test_a_service_account_may_nothing_that_no_role_grants(proving: ControlPlane) -> None:
    with pytest.raises(ApiError, match="cannot list resource"):
        proving.as_account(NAMESPACE, "default").list("v1", "Pod", NAMESPACE)


def test_a_deleted_namespace_takes_everything_with_it(proving: ControlPlane) -> None:
    proving.admin.delete("v1", "Namespace", NAMESPACE)
    wait_for("the namespace is gone", lambda: proving.admin.get("v1", "Namespace", NAMESPACE) is None, 60)


def test_keda_serves_external_metrics(keda: ControlPlane) -> None:
    listed = keda.admin.call("GET", "/apis/external.metrics.k8s.io/v1beta1")
    assert listed["kind"] == "APIResourceList"
