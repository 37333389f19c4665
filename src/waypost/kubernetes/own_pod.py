"""What a worker writes on its own pod: the release it serves, and what it would cost to lose it now.

Kubernetes asks that the cost be not changed often, so at most one patch goes out in ten seconds, and the cost moves in
doublings of the load. The release is written by the one who knows it; nothing has to be asked of a pod for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from waypost.clock import Clock
from waypost.kubernetes.marks import DELETION_COST, MODEL_VERSION, RELEASE
from waypost.kubernetes.protocols import PODS, Cluster

PATCH_SECONDS = 10.0  # a fleet of 100 pods that all change at once is 10 patches a second at most
IDLE, HIGHEST_COST = 0, 1_000


class OwnPod:
    def __init__(self, cluster: Cluster, namespace: str, name: str, clock: Clock) -> None:
        self._cluster, self._namespace, self._name, self._clock = cluster, namespace, name, clock
        self._written: dict[str, str] = {}
        self._due = -math.inf

    def write(self, release: str | None, model_version: int | None, cost: int) -> bool:
        """Have it on the pod, soon; whether the cluster was asked now. Raises ClusterUnavailable, ClusterRefused."""
        wanted = notes(release, model_version, cost)
        if wanted == self._written or self._clock.monotonic() < self._due:
            return False
        self._due = self._clock.monotonic() + PATCH_SECONDS  # first: one that is refused is not repeated at once
        self._cluster.patch(PODS, self._namespace, self._name, {"metadata": {"annotations": wanted}})
        self._written = dict(wanted)
        return True


def notes(release: str | None, model_version: int | None, cost: int) -> Mapping[str, str]:
    served = {} if release is None else {RELEASE: release, MODEL_VERSION: str(model_version)}
    return {**served, DELETION_COST: str(cost)}


def cost_of(answers_per_second: float) -> int:
    """0 for an idle pod, else 10 for each doubling of its rate, so that small changes of load are none of the cost."""
    if answers_per_second <= 0:
        return IDLE
    return min(HIGHEST_COST, 10 * max(1, math.ceil(math.log2(answers_per_second)) + 1))
