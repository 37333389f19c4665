"""`helm upgrade` rolls, `helm rollback` restores, `helm uninstall` leaves nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.api import ALL_NAMESPACES, Object
from tests.cluster.helm import CHART, WAIT
from tests.cluster.running import wait_for
from tests.cluster.shop import NAMESPACE, RELEASE, Shop
from tests.cluster.steps import step

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CHANGE = (
    "--set=gateway.podAnnotations.tests/rolled=yes,worker.podAnnotations.tests/rolled=yes,trainer.refresh.enabled=true"
)
LOOK_SECONDS = 0.05
OPERATORS_OWN = {"waypost-postgres", "waypost-aws"}  # Secrets that were there before the chart


@contextmanager
def least_ready(shop: Shop, component: str) -> Iterator[list[int]]:
    """How many pods were ready, looked at twenty times a second."""
    seen, stop = [shop.ready(component)], threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_SECONDS):
            seen.append(shop.ready(component))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def rolled(shop: Shop, component: str) -> list[str | None]:
    pods = [pod for pod in shop.pods(component) if "deletionTimestamp" not in pod["metadata"]]
    return [(pod["metadata"].get("annotations") or {}).get("tests/rolled") for pod in pods]


def allowed_by_budget(shop: Shop, component: str) -> int:
    """Ready pods that the PodDisruptionBudget wants to see."""
    held = shop.plane.admin.get("policy/v1", "PodDisruptionBudget", f"waypost-{component}", NAMESPACE)
    assert held is not None
    return int(held["status"]["desiredHealthy"])


def test_an_upgrade_replaces_every_pod_and_never_drops_below_the_budget(shop: Shop) -> None:
    wanted = {component: shop.ready(component) for component in ("gateway", "worker")}
    budget = {component: allowed_by_budget(shop, component) for component in wanted}
    with least_ready(shop, "gateway") as gateways, least_ready(shop, "worker") as workers:
        with step("helm upgrade --wait"):
            shop.helm.run("upgrade", RELEASE, str(CHART), *shop.values, CHANGE, *WAIT)
        wait_for("the old pods are gone", lambda: set(rolled(shop, "gateway") + rolled(shop, "worker")) == {"yes"}, 60)
    print(f"ready at least: gateway {min(gateways)} of {len(gateways)} looks, worker {min(workers)} of {len(workers)}")
    for component, seen in (("gateway", gateways), ("worker", workers)):
        assert min(seen) >= max(budget[component], wanted[component])


def test_an_upgrade_keeps_the_keys_that_the_install_made(shop: Shop) -> None:
    names = ("waypost-message-keys", "waypost-release-keys", "waypost-api-keys")
    before = [content(shop, name) for name in names]
    shop.helm.run("upgrade", RELEASE, str(CHART), *shop.values, CHANGE, *WAIT)
    assert [content(shop, name) for name in names] == before


def test_an_upgrade_brings_what_was_switched_on(shop: Shop) -> None:
    assert refresh_of(shop) is not None


def refresh_of(shop: Shop) -> Object | None:
    return shop.plane.admin.get("batch/v1", "CronJob", "waypost-refresh", NAMESPACE)


def content(shop: Shop, name: str) -> Object:
    held = shop.plane.admin.get("v1", "Secret", name, NAMESPACE)
    assert held is not None
    return dict(held["data"])


def test_a_rollback_restores_the_first_revision(shop: Shop) -> None:
    with step("helm rollback --wait"):
        shop.helm.run("rollback", RELEASE, "1", *WAIT)
    wait_for("the change is gone", lambda: set(rolled(shop, "gateway") + rolled(shop, "worker")) == {None}, 60)
    assert refresh_of(shop) is None
    assert shop.helm.run("get", "manifest", RELEASE) == shop.helm.run("get", "manifest", RELEASE, "--revision=1")


def test_a_value_that_nobody_knows_is_refused_and_changes_nothing(shop: Shop) -> None:
    before = shop.helm.run("history", RELEASE)
    with pytest.raises(AssertionError, match="replicaCount"):
        shop.helm.run("upgrade", RELEASE, str(CHART), *shop.values, "--set=gateway.replicaCount=3")
    assert shop.helm.run("history", RELEASE) == before


def test_an_uninstall_leaves_nothing(shop: Shop) -> None:
    with step("helm uninstall --wait"):
        shop.helm.run("uninstall", RELEASE, "--wait", "--timeout=4m")
    wait_for("nothing of it is left", lambda: not left(shop), 90)


def left(shop: Shop) -> list[str]:
    """Everything in the namespace that Kubernetes itself did not make, and what is cluster-wide with our name."""
    time.sleep(LOOK_SECONDS)
    found = [name for name in everything(shop, NAMESPACE) if not is_kubernetes_own(name)]
    found += [
        name for name in everything(shop, None) if "waypost" in name or NAMESPACE in name.split("/")[-1].split("-")
    ]
    return [name for name in found if name.split("/")[-1] not in OPERATORS_OWN | {NAMESPACE}]


def is_kubernetes_own(name: str) -> bool:
    kind, _, called = name.rpartition("/")
    return kind == "events" or called in {"kube-root-ca.crt", "default"} or kind in {"pods.metrics", "leases"}


def everything(shop: Shop, namespace: str | None) -> Iterator[str]:
    """Names of all objects of all kinds that can be listed, as kind/name."""
    admin = shop.plane.admin
    groups = [
        "/api/v1",
        *(f"/apis/{g['preferredVersion']['groupVersion']}" for g in admin.call("GET", "/apis")["groups"]),
    ]
    for group in groups:
        if "metrics.k8s.io" in group:
            continue
        for kind in admin.call("GET", group)["resources"]:
            if "list" not in kind["verbs"] or kind["namespaced"] != (namespace is not None):
                continue
            where = f"/namespaces/{namespace}" if namespace else ""
            for item in admin.call("GET", f"{group}{where}/{kind['name']}")["items"]:
                yield f"{kind['name']}/{item['metadata']['name']}"


def test_no_pod_of_ours_runs_in_any_namespace(shop: Shop) -> None:
    assert shop.plane.admin.list("v1", "Pod", ALL_NAMESPACES, "app.kubernetes.io/name=waypost") == []
