"""KEDA must not remove pods while they try a release: the ones that are left may be those that gave it up.

A pause is a lease. Every pod that switches sets it and renews it; it says until when it counts, and whoever took part,
or starts later, lifts it when that time is over, so that a pod that dies in mid-switch leaves a minute and not a
fleet that never shrinks. A pause without our mark is an operator's own and is left alone.
"""

from __future__ import annotations

import logging
import math

from waypost.clock import Clock
from waypost.errors import ClusterConflict
from waypost.kubernetes.marks import PAUSED_SCALE_IN, PAUSED_UNTIL
from waypost.kubernetes.protocols import SCALED_OBJECTS, Cluster, Json

logger = logging.getLogger(__name__)
HOLD_SECONDS = 60.0  # renewed as long as a release is on trial, so it only covers a pod that died meanwhile
RENEW_SECONDS = 30.0


class ScaleInPause:
    def __init__(self, cluster: Cluster, namespace: str, scaled_object: str, clock: Clock) -> None:
        self._cluster, self._namespace, self._name, self._clock = cluster, namespace, scaled_object, clock
        self._renew_due = -math.inf
        self._lift_due: float | None = -math.inf  # None: no pause that is ours to lift; at first nobody knows

    def keep(self, switching: bool) -> bool:
        """Paused while this pod switches, and not for long after; whether the cluster was asked now.

        Raises ClusterUnavailable, ClusterRefused.
        """
        now = self._clock.now()
        try:
            if switching and now >= self._renew_due:
                self._pause(now)
            elif not switching and self._lift_due is not None and now >= self._lift_due:
                self._lift(now)
            else:
                return False
        except ClusterConflict:
            pass  # another pod was quicker; the next look sees what it did
        return True

    def _pause(self, now: float) -> None:
        held = self._read()
        if held is None or (PAUSED_SCALE_IN in _marks(held) and PAUSED_UNTIL not in _marks(held)):
            self._renew_due = now + RENEW_SECONDS
            return
        until = max(now + HOLD_SECONDS, until_of(held))
        self._write(held, {PAUSED_SCALE_IN: "true", PAUSED_UNTIL: f"{until:.0f}"})
        self._renew_due, self._lift_due = now + RENEW_SECONDS, until
        logger.info("scale-in is paused while a release is switched", extra={"until": round(until)})

    def _lift(self, now: float) -> None:
        held = self._read()
        if held is None or PAUSED_UNTIL not in _marks(held):
            self._lift_due = None
        elif (until := until_of(held)) > now:
            self._lift_due = until
        else:
            self._write(held, {PAUSED_SCALE_IN: None, PAUSED_UNTIL: None})
            self._lift_due = None
            logger.info("scale-in goes on")

    def _read(self) -> Json | None:
        return self._cluster.get(SCALED_OBJECTS, self._namespace, self._name)

    def _write(self, held: Json, marks: dict[str, str | None]) -> None:
        """Unless somebody changed it since it was read."""
        version = held["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version, "annotations": marks}}
        self._cluster.patch(SCALED_OBJECTS, self._namespace, self._name, patch)


def _marks(held: Json) -> dict[str, str]:
    marks: dict[str, str] = held["metadata"].get("annotations") or {}
    return marks


def until_of(held: Json) -> float:
    """When our pause is over; long ago where somebody wrote no number there."""
    try:
        return float(_marks(held).get(PAUSED_UNTIL, "0"))
    except ValueError:
        return 0.0
