"""`helm install` with the five values, on a real API server."""

from __future__ import annotations

import pytest

from tests.cluster.api import ApiError, Object, is_ready
from tests.cluster.running import wait_for
from tests.cluster.shop import HPA, NAMESPACE, RELEASE, SCALED_OBJECT, WORKER, Shop
from tests.cluster.steps import step

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CLUSTER_WIDE = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def held(shop: Shop, manifest: Object) -> Object | None:
    metadata = manifest["metadata"]
    namespace = None if manifest["kind"] in CLUSTER_WIDE else metadata.get("namespace", NAMESPACE)
    return shop.plane.admin.get(manifest["apiVersion"], manifest["kind"], metadata["name"], namespace)


def test_the_api_server_took_every_object_of_the_chart(shop: Shop) -> None:
    manifests = shop.helm.manifests(RELEASE)
    assert [m["metadata"]["name"] for m in manifests if held(shop, m) is None] == []
    kinds = {manifest["kind"] for manifest in manifests}
    print(f"{len(manifests)} objects of {len(kinds)} kinds: {', '.join(sorted(kinds))}")
    assert {"Deployment", "CronJob", "ScaledObject", "NetworkPolicy", "PodDisruptionBudget", *CLUSTER_WIDE} <= kinds


def test_the_pods_of_both_deployments_are_placed_and_ready(shop: Shop) -> None:
    with step("pods of both Deployments ready"):
        wait_for("two gateways and one worker", lambda: (shop.ready("gateway"), shop.ready("worker")) == (2, 1), 60)
    assert all(pod["spec"]["nodeName"].startswith("plain-") for pod in shop.pods("gateway"))
    assert all(pod["spec"]["nodeName"].startswith("gpu-") for pod in shop.pods("worker"))


def test_the_gateways_are_in_different_zones(shop: Shop) -> None:
    nodes = [pod["spec"]["nodeName"] for pod in shop.pods("gateway")]
    assert len({node.rpartition("-")[2] for node in nodes}) == len(nodes)


def test_a_pod_of_ours_that_is_made_unrestricted_is_refused(shop: Shop) -> None:
    pod = shop.pods("gateway")[0]
    spec = {**pod["spec"], "hostNetwork": True}
    copy = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wider", "namespace": NAMESPACE}, "spec": spec}
    with pytest.raises(ApiError, match=r"violates PodSecurity.*restricted"):
        shop.plane.admin.create(copy)


def test_the_scaled_object_is_ready_and_its_hpa_is_there(shop: Shop) -> None:
    with step("ScaledObject Ready, HPA there"):
        wait_for("the ScaledObject is Ready", lambda: shop.scaling_is("Ready"), 60)
    hpa = shop.plane.admin.get(*HPA)
    assert hpa is not None
    assert hpa["spec"]["scaleTargetRef"]["name"] == WORKER
    scaled = shop.plane.admin.get(*SCALED_OBJECT)
    assert scaled is not None
    assert scaled["status"]["hpaName"] == hpa["metadata"]["name"]


def test_the_gateways_hpa_is_accepted(shop: Shop) -> None:
    hpa = shop.plane.admin.get("autoscaling/v2", "HorizontalPodAutoscaler", "waypost-gateway", NAMESPACE)
    assert hpa is not None
    assert hpa["spec"]["metrics"][0]["resource"]["name"] == "cpu"


def test_a_drain_takes_one_gateway_at_a_time(shop: Shop) -> None:
    first, second = (pod["metadata"]["name"] for pod in shop.pods("gateway") if is_ready(pod))
    evict(shop, first)
    with pytest.raises(ApiError, match="disruption budget"):
        evict(shop, second)
    wait_for("two gateways again", lambda: shop.ready("gateway") == 2, 60)


def evict(shop: Shop, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    shop.plane.admin.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction", eviction)
