"""Durations by model version: classic histograms, because prometheus_client has no native ones.

Its `Histogram` takes a lock and looks its label up for every observation, and cannot count many equal ones at once. A
request makes five in the gateway and ten in the worker, so here an observation is a bisection and two additions, and
who observes from several threads takes one lock for a whole batch. The latest request of each bucket is its exemplar.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, HistogramMetricFamily

from waypost import __version__

# No wider than 50 ms up to 300 ms, with the objective (0.25 s) as an edge; 10 s is the longest deadline.
SECONDS_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.5, 10.0)
_EDGES = [str(edge) for edge in SECONDS_BUCKETS] + ["+Inf"]
NO_VERSION = "none"
_Latest = tuple[str, float, float]  # request id, seconds, when (monotonic)
_Bucket = tuple[str, float] | tuple[str, float, Exemplar]  # upper edge, how many up to it


def version_label(model_version: int | None) -> str:
    return NO_VERSION if model_version is None else str(model_version)


class Buckets:
    """The counts of one series."""

    __slots__ = ("_counts", "_latest", "_sum")

    def __init__(self) -> None:
        self._counts, self._sum = [0] * len(_EDGES), 0.0
        self._latest: list[_Latest | None] = [None] * len(_EDGES)

    def observe(self, seconds: float, request_id: str, at: float, times: int = 1) -> None:
        """So many took so long, that request last, at that monotonic time ("": no request that one could look up)."""
        bucket = bisect_left(SECONDS_BUCKETS, seconds)
        self._counts[bucket] += times
        self._sum += seconds * times
        if request_id:
            self._latest[bucket] = (request_id, seconds, at)

    def observe_each(self, seconds: Sequence[float], request_ids: Sequence[str], at: float) -> None:
        """The same of a batch's requests, in less time."""
        counts, latest = self._counts, self._latest
        for request_id, spent in zip(request_ids, seconds, strict=True):
            bucket = bisect_left(SECONDS_BUCKETS, spent)
            counts[bucket] += 1
            latest[bucket] = (request_id, spent, at)
        self._sum += sum(seconds)

    def cumulative(self) -> tuple[list[_Bucket], float]:
        """What add_metric takes: each bucket, and the sum."""
        counts, total, latest = self._counts.copy(), self._sum, self._latest.copy()
        epoch = time.time() - time.monotonic()
        return list(_buckets(counts, latest, epoch)), total


def _buckets(counts: list[int], latest: list[_Latest | None], epoch: float) -> Iterator[_Bucket]:
    for edge, count, found in zip(_EDGES, accumulate(counts), latest, strict=True):
        if found is None:
            yield edge, float(count)
        else:
            request_id, seconds, at = found
            yield edge, float(count), Exemplar({"request_id": request_id}, seconds, round(epoch + at, 3))


class _Series(dict[str, Buckets]):
    """Those of one model version by the value of their label; one that is asked for is there."""

    def __missing__(self, value: str) -> Buckets:
        return self.setdefault(value, Buckets())


class ByModelVersion:
    """One name's series by a label, model_version and the code's version.

    Observed by one thread only, or by whoever holds `lock`, which a scrape takes too. Without a lock a scrape that
    meets an observation may show its count and not yet its seconds; the next scrape has both.
    """

    def __init__(
        self,
        name: str,
        what: str,
        label: str,
        registry: CollectorRegistry,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._name, self._what, self._labels = name, what, (label, "model_version", "version")
        self._lock = lock or nullcontext()
        self._versions: dict[int | None, _Series] = {}
        registry.register(self)

    def of(self, model_version: int | None) -> _Series:
        """Its series by the value of their label, whether there are any yet or not."""
        found = self._versions.get(model_version)
        return self._versions.setdefault(model_version, _Series()) if found is None else found

    def forget(self, model_version: int) -> None:
        """The version is served no more: its series are gone from the next scrape on."""
        self._versions.pop(model_version, None)

    def describe(self) -> list[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._what, labels=self._labels)]

    def collect(self) -> list[HistogramMetricFamily]:
        (family,) = self.describe()
        with self._lock:
            found = sorted(self._cumulative(), key=lambda one: one[0])
        for labels, buckets, total in found:
            family.add_metric([*labels, __version__], buckets, total)
        return [family]

    def _cumulative(self) -> Iterator[tuple[tuple[str, str], list[_Bucket], float]]:
        for version, series in self._versions.copy().items():
            for value, buckets in series.copy().items():
                yield (value, version_label(version)), *buckets.cumulative()


class ByOutcome:
    """One name's series by an outcome and the code's version; those of all outcomes are there from the start.

    Observed by whoever holds `lock`, which a scrape takes too.
    """

    def __init__(
        self,
        name: str,
        what: str,
        outcomes: Sequence[str],
        registry: CollectorRegistry,
        lock: AbstractContextManager[object],
    ) -> None:
        self._name, self._what, self._lock = name, what, lock
        self._series = {outcome: Buckets() for outcome in outcomes}
        registry.register(self)

    def __getitem__(self, outcome: str) -> Buckets:
        return self._series[outcome]

    def describe(self) -> list[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._what, labels=("outcome", "version"))]

    def collect(self) -> list[HistogramMetricFamily]:
        (family,) = self.describe()
        with self._lock:
            found = [(outcome, *series.cumulative()) for outcome, series in self._series.items()]
        for outcome, buckets, total in found:
            family.add_metric([outcome, __version__], buckets, total)
        return [family]
