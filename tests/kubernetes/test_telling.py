"""What a worker tells the cluster, how often, and with which roles."""

from __future__ import annotations

import logging

import pytest

from waypost.clock import ManualClock
from waypost.kubernetes.marks import DELETION_COST, MODEL_VERSION, PAUSED_SCALE_IN, PAUSED_UNTIL, RELEASE
from waypost.kubernetes.memory import MemoryCluster
from waypost.kubernetes.own_pod import PATCH_SECONDS, OwnPod, cost_of
from waypost.kubernetes.protocols import PODS, SCALED_OBJECTS, Cluster
from waypost.kubernetes.scale_in import HOLD_SECONDS, ScaleInPause
from waypost.kubernetes.telling import ClusterTeller, Facts, open_teller
from waypost.settings import SharedSettings

NAMESPACE, POD, SCALED = "waypost", "worker-1", "waypost-worker"
GRANTED = {("patch", "pods"), ("get", "scaledobjects"), ("patch", "scaledobjects")}  # as in the chart's role


class Worker:
    """A worker whose facts the test sets."""

    def __init__(self) -> None:
        self.facts = Facts("000001-first", 1, switching=False, answered=0)

    def becomes(self, **changed: object) -> None:
        self.facts = Facts(**{**self.facts.__dict__, **changed})

    def now(self) -> Facts:
        return self.facts


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cluster() -> MemoryCluster:
    memory = MemoryCluster()
    memory.create(PODS, NAMESPACE, {"metadata": {"name": POD}})
    memory.create(SCALED_OBJECTS, NAMESPACE, {"metadata": {"name": SCALED}})
    memory.allowed = GRANTED
    memory.calls.clear()
    return memory


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def teller(cluster: MemoryCluster, worker: Worker, clock: ManualClock) -> ClusterTeller:
    return a_teller(cluster, worker, clock)


def a_teller(cluster: Cluster, worker: Worker, clock: ManualClock, pod: str = POD) -> ClusterTeller:
    pause = ScaleInPause(cluster, NAMESPACE, SCALED, clock)
    return ClusterTeller(OwnPod(cluster, NAMESPACE, pod, clock), pause, worker.now, clock)


def marks(cluster: MemoryCluster, kind: str = "pods") -> dict[str, str]:
    seen = MemoryCluster(_objects=cluster._objects)
    held = seen.get(PODS, NAMESPACE, POD) if kind == "pods" else seen.get(SCALED_OBJECTS, NAMESPACE, SCALED)
    assert held is not None
    found: dict[str, str] = held["metadata"].get("annotations", {})
    return found


def looks(teller: ClusterTeller, clock: ManualClock, seconds: float, every: float = 5.0) -> None:
    for _ in range(int(seconds / every)):
        clock.sleep(every)
        teller.look()


def test_a_worker_writes_on_its_pod_what_it_serves(teller: ClusterTeller, cluster: MemoryCluster) -> None:
    teller.look()
    assert marks(cluster) == {RELEASE: "000001-first", MODEL_VERSION: "1", DELETION_COST: "0"}


def test_a_worker_that_serves_nothing_yet_names_no_release(
    teller: ClusterTeller, cluster: MemoryCluster, worker: Worker
) -> None:
    worker.becomes(release=None, model_version=None)
    teller.look()
    assert marks(cluster) == {DELETION_COST: "0"}


def test_what_has_not_changed_is_not_written_again(
    teller: ClusterTeller, cluster: MemoryCluster, clock: ManualClock
) -> None:
    teller.look()
    looks(teller, clock, 600)
    assert cluster.calls.count(("patch", "pods")) == 1


def test_however_often_it_changes_the_api_server_is_not_flooded(
    teller: ClusterTeller, cluster: MemoryCluster, worker: Worker, clock: ManualClock
) -> None:
    for number in range(600):
        worker.becomes(release=f"{number}")
        looks(teller, clock, 1, every=1)
    assert cluster.calls.count(("patch", "pods")) <= 600 / PATCH_SECONDS


def test_a_busy_pod_costs_more_than_an_idle_one(
    teller: ClusterTeller, cluster: MemoryCluster, worker: Worker, clock: ManualClock
) -> None:
    for number in range(1, 5):
        worker.becomes(answered=1_000 * number)
        looks(teller, clock, 5)
    assert int(marks(cluster)[DELETION_COST]) > 0
    looks(teller, clock, 20)
    assert int(marks(cluster)[DELETION_COST]) == 0


def test_cost_grows_with_the_load_in_few_steps() -> None:
    costs = [cost_of(rate) for rate in range(10_000)]
    assert costs == sorted(costs)
    assert len(set(costs)) < 20
    assert max(costs) <= 1_000


def test_scale_in_is_paused_while_a_release_is_on_trial_and_goes_on_after(
    teller: ClusterTeller, cluster: MemoryCluster, worker: Worker, clock: ManualClock
) -> None:
    worker.becomes(switching=True)
    teller.look()
    assert marks(cluster, "scaledobject")[PAUSED_SCALE_IN] == "true"
    worker.becomes(switching=False)
    looks(teller, clock, HOLD_SECONDS + 10)
    assert marks(cluster, "scaledobject") == {}


def test_a_long_trial_stays_paused(
    teller: ClusterTeller, cluster: MemoryCluster, worker: Worker, clock: ManualClock
) -> None:
    worker.becomes(switching=True)
    for _ in range(100):
        looks(teller, clock, 5)
        assert PAUSED_SCALE_IN in marks(cluster, "scaledobject")
        assert float(marks(cluster, "scaledobject")[PAUSED_UNTIL]) > clock.now()


def test_one_pod_that_is_done_does_not_lift_the_pause_of_another(cluster: MemoryCluster, clock: ManualClock) -> None:
    quick, slow = Worker(), Worker()
    tellers = [a_teller(cluster, quick, clock), a_teller(cluster, slow, clock)]
    quick.becomes(switching=True)
    slow.becomes(switching=True)
    for round_ in range(60):
        if round_ == 2:
            quick.becomes(switching=False)
        clock.sleep(5)
        for teller in tellers:
            teller.look()
        assert PAUSED_SCALE_IN in marks(cluster, "scaledobject")


def test_the_pause_of_a_pod_that_died_is_lifted_by_the_next_one_that_starts(
    teller: ClusterTeller, cluster: MemoryCluster, worker: Worker, clock: ManualClock
) -> None:
    worker.becomes(switching=True)
    teller.look()
    clock.sleep(HOLD_SECONDS + 1)
    a_teller(cluster, Worker(), clock).look()
    assert marks(cluster, "scaledobject") == {}


def test_an_operators_own_pause_is_left_alone(
    teller: ClusterTeller, cluster: MemoryCluster, worker: Worker, clock: ManualClock
) -> None:
    cluster.patch(SCALED_OBJECTS, NAMESPACE, SCALED, {"metadata": {"annotations": {PAUSED_SCALE_IN: "true"}}})
    worker.becomes(switching=True)
    looks(teller, clock, 300)
    worker.becomes(switching=False)
    looks(teller, clock, 300)
    assert marks(cluster, "scaledobject") == {PAUSED_SCALE_IN: "true"}


def test_a_worker_in_peace_asks_nothing_about_scaling(
    teller: ClusterTeller, cluster: MemoryCluster, clock: ManualClock
) -> None:
    looks(teller, clock, 3_600)
    assert cluster.calls.count(("get", "scaledobjects")) == 1  # at its start: somebody's pause may be left


def test_a_cluster_that_says_no_is_told_once_and_disturbs_nobody(
    teller: ClusterTeller, cluster: MemoryCluster, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.allowed = set()
    with caplog.at_level(logging.WARNING):
        looks(teller, clock, 600)
    assert len(caplog.records) == 2  # the pod, and the scaling


def test_outside_a_cluster_nobody_is_told_anything(worker: Worker, clock: ManualClock) -> None:
    named = SharedSettings(pod_name=POD, namespace=NAMESPACE)
    assert open_teller(named, SCALED, {}, worker.now, clock) is None
    assert open_teller(SharedSettings(), SCALED, {"KUBECONFIG": "/not/read"}, worker.now, clock) is None
    switched_off = SharedSettings(pod_name=POD, namespace=NAMESPACE, kubernetes="never")
    assert open_teller(switched_off, SCALED, {"KUBECONFIG": "/not/read"}, worker.now, clock) is None
