"""Watcher: looks at gateway, worker and store every few seconds, in a thread, and keeps what the page is made of.

The requests know nothing of it. Half an hour of it takes a few megabytes; it runs only where the page is switched on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from waypost.clock import Clock
from waypost.gateway.page.exposition import Sample, histograms, parse_samples
from waypost.gateway.page.figures import GATEWAY_NAMES, WORKER_NAMES, Looks, figures
from waypost.gateway.page.histograms import Counts
from waypost.gateway.page.neighbours import Neighbours, Silent
from waypost.gateway.page.record import REQUEST, Record
from waypost.gateway.page.releases import ReleaseReader
from waypost.key_types import KeyTypes

LOOK_SECONDS = 5.0
FRESH_SECONDS = 0.5  # somebody who has just asked sees his request; older looks are repeated for him
RELEASE_LOOKS = 2  # the store is read at every second look
logger = logging.getLogger(__name__)


class Watcher:
    def __init__(
        self,
        registry: CollectorRegistry,
        neighbours: Neighbours,
        releases: ReleaseReader,
        key_types: Callable[[], KeyTypes],
        clock: Clock,
    ) -> None:
        self._registry, self._neighbours, self._releases = registry, neighbours, releases
        self._key_types, self._clock = key_types, clock
        self._record, self._looks, self._count = Record(), Looks(), 0
        self._looked_at = -LOOK_SECONDS
        self._looking = threading.Lock()  # one look at a time
        self._lock = threading.Lock()  # the record is read while the next look is noted

    async def watch(self, seconds: float = LOOK_SECONDS) -> None:
        """Look now and then every so many seconds, until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(seconds)

    def look(self) -> None:
        """One look at all three; never raises."""
        with self._looking:
            self._looked_at = self._clock.monotonic()
            self._look()

    def _look(self) -> None:
        try:
            self._look_at_gateway()
            self._look_at_worker()
            if self._count % RELEASE_LOOKS == 0:
                self._looks = replace(self._looks, releases=self._releases.read())
            self._count += 1
        except Exception:
            logger.exception("the status page's look failed")

    def figures(self) -> dict[str, Any]:
        """What the page shows now, as JSON."""
        if self._clock.monotonic() - self._looked_at > FRESH_SECONDS:
            self.look()
        with self._lock:
            return figures(self._record, self._looks, self._key_types(), self._clock.monotonic(), self._clock.now())

    def _look_at_gateway(self) -> None:
        text = generate_latest(self._registry.restricted_registry(GATEWAY_NAMES)).decode()
        samples = parse_samples(text, GATEWAY_NAMES)
        self._note("gateway", samples)
        self._looks = replace(self._looks, gateway=samples)

    def _look_at_worker(self) -> None:
        try:
            samples = parse_samples(self._neighbours.read_worker_metrics(WORKER_NAMES), WORKER_NAMES)
        except Silent as silent:
            self._looks = replace(self._looks, worker=None, worker_trouble=str(silent))
            return
        self._note("worker", samples)
        self._looks = replace(self._looks, worker=samples, worker_trouble=None)

    def _note(self, process: str, samples: list[Sample]) -> None:
        series = _series(process, samples)
        with self._lock:
            self._record.note(process, self._clock.monotonic(), series)


def _series(process: str, samples: list[Sample]) -> dict[tuple[str, str], Counts]:
    """Every histogram of a process by stage and release; the whole request is a stage of its own here."""
    name = f"waypost_{process}_"
    found: dict[tuple[str, str], Counts] = {}
    for (stage, version), counts in histograms(samples, f"{name}stage_seconds", "stage", "model_version").items():
        found[stage, version] = counts
    for (version,), counts in histograms(samples, f"{name}request_seconds", "model_version").items():
        found[REQUEST, version] = counts
    return found
