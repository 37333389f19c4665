"""A night out of its turn, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from waypost.clock import ManualClock
from waypost.errors import ClusterRefused, ClusterUnavailable, UsageError
from waypost.kubernetes.marks import CONTAINER, JOB_LABEL
from waypost.kubernetes.memory import MemoryCluster
from waypost.kubernetes.nights import AWAY_SECONDS, NightLog, start_night
from waypost.kubernetes.protocols import CRON_JOBS, JOBS, PODS, Json, Kind, LogLine

NAMESPACE, CRON_JOB = "waypost", "waypost-trainer"
GRANTED = {("get", "cronjobs"), ("create", "jobs"), ("get", "jobs"), ("list", "pods"), ("get", "pods/log")}


@pytest.fixture
def cluster() -> MemoryCluster:
    memory = MemoryCluster()
    template = {
        "metadata": {"labels": {"app.kubernetes.io/name": "waypost"}, "annotations": {"note": "kept"}},
        "spec": {"backoffLimit": 1, "template": {"spec": {"containers": [{"name": "trainer"}]}}},
    }
    memory.create(CRON_JOBS, NAMESPACE, {"metadata": {"name": CRON_JOB}, "spec": {"jobTemplate": template}})
    memory.allowed = GRANTED
    return memory


class Kubelet:
    """Plays the cluster's part while the clock of the follower runs."""

    def __init__(self, cluster: MemoryCluster, *steps: Callable[[], None]) -> None:
        self._cluster, self._steps = cluster, list(steps)

    def sleep(self, seconds: float) -> None:
        granted, self._cluster.allowed = self._cluster.allowed, None
        self._steps.pop(0)()
        self._cluster.allowed = granted


class SteppedClock(ManualClock):
    def __init__(self, kubelet: Kubelet) -> None:
        super().__init__()
        self._kubelet = kubelet

    def sleep(self, seconds: float) -> None:
        self._kubelet.sleep(seconds)


def follow(cluster: MemoryCluster, job: str, *steps: Callable[[], None]) -> tuple[int, list[str]]:
    said: list[str] = []
    code = NightLog(cluster, NAMESPACE, job, said.append, SteppedClock(Kubelet(cluster, *steps))).follow()
    return code, said


def lines(*texts: str) -> list[LogLine]:
    return [LogLine(f"2026-01-01T00:00:{second:02}Z", text) for second, text in enumerate(texts)]


def add_pod(cluster: MemoryCluster, job: str, name: str, state: Json, **annotations: str) -> None:
    pod = {
        "metadata": {"name": name, "labels": {JOB_LABEL: job}, "annotations": annotations},
        "spec": {"containers": [{"name": "trainer"}, {"name": "other"}]},
        "status": {"containerStatuses": [{"name": "trainer", "state": state}, {"name": "other", "state": state}]},
    }
    cluster.create(PODS, NAMESPACE, pod)


def end_job(cluster: MemoryCluster, job: str, how: str) -> None:
    cluster.patch(JOBS, NAMESPACE, job, {"status": {"conditions": [{"type": how, "status": "True"}]}})


def test_the_job_is_what_the_cron_job_would_have_made(cluster: MemoryCluster) -> None:
    job = start_night(cluster, NAMESPACE, CRON_JOB)
    held = cluster.get(JOBS, NAMESPACE, job)
    assert held is not None
    assert job.startswith("waypost-trainer-now-")
    assert held["spec"]["backoffLimit"] == 1
    assert held["metadata"]["labels"] == {"app.kubernetes.io/name": "waypost"}
    assert held["metadata"]["annotations"] == {"note": "kept", "cronjob.kubernetes.io/instantiate": "manual"}
    assert held["metadata"]["ownerReferences"][0]["name"] == CRON_JOB


def test_an_override_reaches_the_nights_own_container_and_no_other(cluster: MemoryCluster) -> None:
    before = cluster.get(CRON_JOBS, NAMESPACE, CRON_JOB)
    assert before is not None
    spec = before["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    cluster.allowed = None
    containers = [{"name": "trainer", "args": ["night"]}, {"name": "other", "args": ["x"]}]
    spec["containers"] = containers
    cluster.patch(CRON_JOBS, NAMESPACE, CRON_JOB, {"spec": before["spec"]})
    job = start_night(cluster, NAMESPACE, CRON_JOB, ["--accept", "coverage", "--reason", "a small spring"])
    held = cluster.get(JOBS, NAMESPACE, job)
    assert held is not None
    made = {one["name"]: one["args"] for one in held["spec"]["template"]["spec"]["containers"]}
    assert made == {"trainer": ["night", "--accept", "coverage", "--reason", "a small spring"], "other": ["x"]}


def test_there_is_one_night_at_a_time(cluster: MemoryCluster) -> None:
    cluster.allowed = None
    cluster.patch(CRON_JOBS, NAMESPACE, CRON_JOB, {"status": {"active": [{"name": "waypost-trainer-2930"}]}})
    with pytest.raises(UsageError, match="waypost-trainer-2930"):
        start_night(cluster, NAMESPACE, CRON_JOB)


def test_a_cron_job_that_is_not_there_is_named(cluster: MemoryCluster) -> None:
    with pytest.raises(UsageError, match="no CronJob shop-trainer in the namespace waypost"):
        start_night(cluster, NAMESPACE, "shop-trainer")


def test_the_log_is_shown_and_a_good_end_is_0(cluster: MemoryCluster) -> None:
    job = start_night(cluster, NAMESPACE, CRON_JOB)
    cluster.logs["pod-1", "trainer"] = lines("graph read", "release published")
    code, said = follow(
        cluster,
        job,
        lambda: add_pod(cluster, job, "pod-1", {"running": {}}),
        lambda: end_job(cluster, job, "Complete"),
    )
    assert (code, said) == (0, ["graph read", "release published"])


def test_the_exit_code_is_that_of_the_night(cluster: MemoryCluster) -> None:
    job = start_night(cluster, NAMESPACE, CRON_JOB)
    cluster.logs["pod-1", "trainer"] = lines("refused by the gate")
    code, said = follow(
        cluster,
        job,
        lambda: add_pod(cluster, job, "pod-1", {"terminated": {"exitCode": 3}}),
        lambda: end_job(cluster, job, "Failed"),
    )
    assert (code, said) == (3, ["refused by the gate"])


def test_the_second_try_is_followed_too(cluster: MemoryCluster) -> None:
    job = start_night(cluster, NAMESPACE, CRON_JOB)
    cluster.logs["pod-1", "trainer"], cluster.logs["pod-2", "trainer"] = lines("first"), lines("second")
    code, said = follow(
        cluster,
        job,
        lambda: add_pod(cluster, job, "pod-1", {"terminated": {"exitCode": 1}}),
        lambda: add_pod(cluster, job, "pod-2", {"running": {}}),
        lambda: end_job(cluster, job, "Complete"),
    )
    assert (code, said) == (0, ["first", "second"])


def test_a_pod_that_has_not_begun_has_no_log_yet(cluster: MemoryCluster) -> None:
    job = start_night(cluster, NAMESPACE, CRON_JOB)
    cluster.logs["pod-1", "trainer"] = lines("never said")
    code, said = follow(
        cluster,
        job,
        lambda: add_pod(cluster, job, "pod-1", {"waiting": {"reason": "ContainerCreating"}}),
        lambda: end_job(cluster, job, "Failed"),
    )
    assert (code, said) == (1, [])


def test_a_pod_may_say_which_container_is_the_night(cluster: MemoryCluster) -> None:
    job = start_night(cluster, NAMESPACE, CRON_JOB)
    cluster.logs["pod-1", "other"] = lines("the night is here")
    _, said = follow(
        cluster,
        job,
        lambda: add_pod(cluster, job, "pod-1", {"running": {}}, **{CONTAINER: "other"}),
        lambda: end_job(cluster, job, "Complete"),
    )
    assert said == ["the night is here"]


def test_a_log_that_breaks_off_goes_on_where_it_was(cluster: MemoryCluster) -> None:
    job = start_night(cluster, NAMESPACE, CRON_JOB)
    key = ("pod-1", "trainer")
    cluster.logs[key] = lines("graph read")

    def more() -> None:
        cluster.logs[key] = lines("graph read", "trained")

    code, said = follow(
        cluster,
        job,
        lambda: add_pod(cluster, job, "pod-1", {"running": {}}),
        more,
        lambda: end_job(cluster, job, "Complete"),
    )
    assert (code, said) == (0, ["graph read", "trained"])


class AwayCluster(MemoryCluster):
    """Nobody answers."""

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        raise ClusterUnavailable("the API server cannot be reached")


def test_an_api_server_that_is_away_is_waited_for_but_not_for_ever() -> None:
    clock = ManualClock()
    with pytest.raises(ClusterUnavailable):
        NightLog(AwayCluster(), NAMESPACE, "job", print, clock).follow()
    assert AWAY_SECONDS < clock.monotonic() < AWAY_SECONDS + 10


def test_a_job_that_was_deleted_ends_the_waiting(cluster: MemoryCluster) -> None:
    with pytest.raises(ClusterRefused, match="was deleted"):
        follow(cluster, "gone")
