"""A night out of its turn: a Job made of the CronJob's own template, and its log, as if it ran here.

Only one night at a time, as the CronJob itself has it. Whoever stops following stops nothing; the Job's exit code is
that of the night's own container, so that a refusal by the gate is told from a crash here too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from waypost.clock import Clock
from waypost.errors import ClusterRefused, ClusterUnavailable, UsageError
from waypost.kubernetes.marks import CONTAINER, INSTANTIATED, JOB_LABEL
from waypost.kubernetes.protocols import CRON_JOBS, JOBS, PODS, Cluster, Json

logger = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
AWAY_SECONDS = 300.0  # an API server may be away for so long; the night does not need it
FAILED_WITHOUT_A_POD = 1  # past its deadline, for instance


def start_night(cluster: Cluster, namespace: str, cron_job: str, arguments: Sequence[str] = ()) -> str:
    """The Job's name; `arguments` are added to those of the night.

    Raises UsageError while a night runs, ClusterRefused, ClusterUnavailable.
    """
    held = cluster.get(CRON_JOBS, namespace, cron_job)
    if held is None:
        raise UsageError(
            f"there is no CronJob {cron_job} in the namespace {namespace}", "name them by --namespace and --cron-job"
        )
    if active := held.get("status", {}).get("active"):
        raise UsageError(f"a night is running: job {active[0]['name']}", "wait for it, or delete the job")
    made = cluster.create(JOBS, namespace, job_of(held, arguments))
    return str(made["metadata"]["name"])


def job_of(cron_job: Json, arguments: Sequence[str] = ()) -> Json:
    """As `kubectl create job --from` makes it, owned by the CronJob, which tidies it away with the others."""
    template, metadata = cron_job["spec"]["jobTemplate"], cron_job["metadata"]
    marks = template.get("metadata", {})
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": f"{metadata['name']}-now-",
            "labels": marks.get("labels") or {},
            "annotations": {**(marks.get("annotations") or {}), INSTANTIATED: "manual"},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": _with_arguments(template["spec"], arguments),
    }


def _with_arguments(spec: Json, arguments: Sequence[str]) -> Json:
    """The Job's spec with more arguments for the night's own container."""
    told = deepcopy(spec)
    if not arguments:
        return told
    pod = told["template"]
    night = container_of({"metadata": pod.get("metadata", {}), "spec": pod["spec"]})
    for container in pod["spec"]["containers"]:
        if container["name"] == night:
            container["args"] = [*container.get("args", []), *arguments]
    return told


@dataclass
class NightLog:
    """Follows a Job's pods, one after another, to the Job's end."""

    cluster: Cluster
    namespace: str
    job: str
    say: Callable[[str], None]
    clock: Clock
    _last: dict[str, str] = field(default_factory=dict)  # by pod: the stamp of the last line that was said
    _read: set[str] = field(default_factory=set)  # pods that have ended and said all
    _waiting: str = ""

    def follow(self) -> int:
        """The night's exit code. Raises ClusterRefused, and ClusterUnavailable when nobody answers for minutes."""
        reached = self.clock.monotonic()
        while True:
            try:
                if (code := self._look()) is not None:
                    return code
                reached = self.clock.monotonic()
            except ClusterUnavailable:
                if self.clock.monotonic() - reached > AWAY_SECONDS:
                    raise
            self.clock.sleep(LOOK_SECONDS)

    def _look(self) -> int | None:
        """Say what is new; the exit code once the Job has ended."""
        ended = self._ended()  # first: what its pods said until then is read after
        pods = self.cluster.list(PODS, self.namespace, {JOB_LABEL: self.job})
        for pod in pods:
            if _state(pod) and pod["metadata"]["name"] not in self._read:
                self._tell(pod)
        if ended is not None:
            return 0 if ended else _exit_code(pods)
        if pods and (why := _why_not_yet(pods[-1])) != self._waiting:
            self._waiting = why
            logger.info("the night's pod has not begun", extra={"cause": why or "unknown"})
        return None

    def _tell(self, pod: Json) -> None:
        name, running = pod["metadata"]["name"], "running" in _state(pod)
        try:
            for line in self.cluster.log(self.namespace, name, container_of(pod), self._last.get(name), running):
                if line.stamp > self._last.get(name, ""):
                    self._last[name] = line.stamp
                    self.say(line.text)
        except ClusterUnavailable:
            if not running:
                raise
            return  # it broke or was silent: the next look sees whether the container still runs
        if not running:
            self._read.add(name)

    def _ended(self) -> bool | None:
        """True: complete, False: failed, None: not yet."""
        held = self.cluster.get(JOBS, self.namespace, self.job)
        if held is None:
            raise ClusterRefused(f"the job {self.job} was deleted", "run `waypost night --now` again")
        conditions = {one["type"]: one["status"] for one in held.get("status", {}).get("conditions", [])}
        if "True" not in (conditions.get("Complete"), conditions.get("Failed")):
            return None
        return conditions.get("Complete") == "True"


def _exit_code(pods: Sequence[Json]) -> int:
    codes = [_state(pod).get("terminated", {}).get("exitCode", 0) for pod in pods]
    return next((int(code) for code in reversed(codes) if code), FAILED_WITHOUT_A_POD)


def container_of(pod: Json) -> str:
    marked = (pod["metadata"].get("annotations") or {}).get(CONTAINER)
    return str(marked or pod["spec"]["containers"][0]["name"])


def _state(pod: Json) -> Json:
    """Of the night's container, once it has begun: `running` or `terminated`; else nothing."""
    name = container_of(pod)
    for container in pod.get("status", {}).get("containerStatuses", []):
        if container["name"] == name:
            state: Json = container.get("state", {})
            return {} if "waiting" in state else state
    return {}


def _why_not_yet(pod: Json) -> str:
    """In the scheduler's or the kubelet's words."""
    if _state(pod):
        return ""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["status"] != "True" and condition.get("message"):
            return str(condition["message"])
    return ""
