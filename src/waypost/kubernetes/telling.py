"""What a worker tells its cluster, by one look every few seconds: its release, its load, and when not to scale in.

Nothing that goes wrong here may matter to a request: a look never raises, and a cluster that says no is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from waypost.clock import Clock
from waypost.errors import ClusterRefused, ClusterUnavailable
from waypost.kubernetes.credentials import from_kubeconfig, in_cluster
from waypost.kubernetes.http import HttpCluster
from waypost.kubernetes.own_pod import OwnPod, cost_of
from waypost.kubernetes.protocols import Cluster
from waypost.kubernetes.scale_in import ScaleInPause
from waypost.settings import SharedSettings

logger = logging.getLogger(__name__)
LOOK_SECONDS = 5.0  # how soon a pause follows a release that begins its trial


@dataclass(frozen=True)
class Facts:
    """A worker at one moment."""

    release: str | None
    model_version: int | None
    switching: bool  # a release is being loaded or on trial beside the served one
    answered: float  # requests since it began


class ClusterTeller:
    def __init__(self, own_pod: OwnPod, pause: ScaleInPause | None, facts: Callable[[], Facts], clock: Clock) -> None:
        self._own_pod, self._pause, self._facts, self._clock = own_pod, pause, facts, clock
        self._before = (clock.monotonic(), facts().answered)
        self._troubles: set[str] = set()

    def look(self) -> None:
        facts = self._facts()
        self._attempt("own pod", lambda: self._write(facts))
        if self._pause is not None:
            pause = self._pause
            self._attempt("scale-in", lambda: pause.keep(facts.switching))

    def _write(self, facts: Facts) -> bool:
        return self._own_pod.write(facts.release, facts.model_version, cost_of(self._rate(facts.answered)))

    def _rate(self, answered: float) -> float:
        """Answers per second since the last look."""
        (then, before), now = self._before, self._clock.monotonic()
        self._before = (now, answered)
        return (answered - before) / (now - then) if now > then else 0.0

    def _attempt(self, what: str, work: Callable[[], bool]) -> None:
        """`work` says whether it asked the cluster, which alone shows that a trouble is over."""
        try:
            if work():
                self._troubles.discard(what)
        except (ClusterUnavailable, ClusterRefused) as error:
            if what not in self._troubles:  # once for each time it begins, not once for each look
                self._troubles.add(what)
                logger.warning("the cluster was not told", extra={"what": what, "cause": str(error)})


def open_teller(
    shared: SharedSettings,
    scaled_object: str | None,
    environ: Mapping[str, str],
    facts: Callable[[], Facts],
    clock: Clock,
) -> ClusterTeller | None:
    """That of this pod; None where the chart did not say which pod this is, or it has no account of the cluster."""
    cluster = _cluster_of(environ) if shared.kubernetes == "auto" and shared.pod_name and shared.namespace else None
    if cluster is None or shared.pod_name is None or shared.namespace is None:
        return None
    pause = ScaleInPause(cluster, shared.namespace, scaled_object, clock) if scaled_object else None
    return ClusterTeller(OwnPod(cluster, shared.namespace, shared.pod_name, clock), pause, facts, clock)


def _cluster_of(environ: Mapping[str, str]) -> Cluster | None:
    """A kubeconfig that was named counts before the pod's account: so does `kubectl` in a pod."""
    said = environ.get("KUBECONFIG")
    credentials = from_kubeconfig(Path(said)) if said else in_cluster(environ)
    return HttpCluster(credentials) if credentials else None
