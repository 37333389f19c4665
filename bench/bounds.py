"""What the measures may at most be, in the words in which it was promised; a measure that is not there is a miss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.measures import Section


@dataclass(frozen=True)
class Bound:
    section: str
    measure: str
    peer: str
    limit: float  # of ours / peer
    words: str
    aim: float | None = None
    sign: Literal["<=", ">="] = "<="


@dataclass(frozen=True)
class Verdict:
    bound: Bound
    ratio: float | None  # None: not measured

    @property
    def kept(self) -> bool:
        if self.ratio is None:
            return False
        return self.ratio <= self.bound.limit if self.bound.sign == "<=" else self.ratio >= self.bound.limit

    def __str__(self) -> str:
        found = "not measured" if self.ratio is None else f"{self.ratio:.3g}"
        bound = self.bound
        side = "at most" if bound.sign == "<=" else "at least"
        return f"{bound.section}: {bound.measure} / {bound.peer} is {found}, {side} {bound.limit:.3g}: {bound.words}"


_EXTRACTION = "Full extraction of 2 M interactions to integer columns: "
_CHANGED = "A night with 1 % changed rows (inserts, updates, deletes in recent partitions): "
_HALF = (
    "wall time of the data half (connect to CSR tensors in memory, reading the cache included)"
    " ≤ 0.7 of the same half without a cache"
)
_SCALE = "20 M interactions: extraction, tensors and cache "
_LINEAR = f"{_SCALE}linear in time (per-edge cost within 1.3x of the 2 M run)"
_REFRESH = "`waypost refresh`: 2 M edges, 1 % new posts, in under 30 s on two cores"
_CSR = "Building CSR both ways with id maps: ≥ 2x faster than the scipy and pandas way a user would write"
_SATURATED = "At 64 requests at a time: "
_PACED = "At 50 requests/s: "
_HALF_LOAD = "At half the saturation load: "
_OVERLOAD = "Open loop on a worker throttled to 60 requests/s: "
_PROPAGATION = "One forward-backward of two layers: ≥ 5x faster than torch-geometric's default SAGEConv path"

BOUNDS = (
    Bound("extraction", "time", "adbc", 1.1, f"{_EXTRACTION}at most 1.1x the time of ADBC's `fetch_arrow_table`", 0.7),
    Bound("extraction", "time", "connectorx", 1 / 2, f"{_EXTRACTION}≥ 2x faster than connectorx"),
    Bound("extraction", "time", "pandas.read_sql", 1 / 8, f"{_EXTRACTION}≥ 8x than pandas.read_sql"),
    Bound("extraction", "peak memory", "its tensors", 3, f"{_EXTRACTION}peak memory at most 3x the tensors"),
    Bound("increments", "bytes from Postgres", "no cache", 0.05, f"{_CHANGED}bytes over the wire ≤ 5 % of full"),
    Bound("increments", "client CPU of extraction", "no cache", 0.05, f"{_CHANGED}client CPU ≤ 5 % of full"),
    Bound("increments", "time of the data half", "no cache", 0.7, f"{_CHANGED}{_HALF}", 0.4),
    Bound("scale", "peak memory of the process", "8 GB", 1, f"{_SCALE}within 8 GB"),
    Bound("scale", "first night", "2 M", 1.3, _LINEAR),
    Bound("scale", "night without changes", "2 M", 1.3, _LINEAR),
    Bound("refresh", "the whole refresh", "30 s", 1, _REFRESH),
    Bound("csr", "time", "pandas.factorize, scipy", 1 / 2, _CSR),
    Bound("csr", "time", "np.unique, scipy", 1 / 2, _CSR),
    Bound("request-path", "CPU of gateway and worker a request", "0.6 ms", 1, f"{_SATURATED}CPU ≤ 0.6 ms a request"),
    Bound(
        "request-path", "answers", "direct gRPC", 0.30,
        f"{_SATURATED}≥ 30 % of what the same Triton gives a direct gRPC client at one user a request", 0.45, ">=",
    ),
    Bound(
        "request-path", "added p50", "emulator's receive + 15 ms", 1,
        f"{_PACED}p50 ≤ 15 ms over direct Triton's and the emulator's own receive latency",
    ),
    Bound("request-path", "p99 at half load", "250 ms", 1, f"{_HALF_LOAD}p99 < 250 ms"),
    Bound("request-path", "not graphsage at half load", "0.1 %", 1, f"{_HALF_LOAD}≥ 99.9 % graphsage"),
    Bound("overload", "goodput at 10x", "the best", 0.9, f"{_OVERLOAD}goodput at 10x ≥ 90 % of the best", None, ">="),
    Bound("overload", "neither 200 nor 429", "one", 0, f"{_OVERLOAD}all else is 200 degraded, or 429"),
    Bound("overload", "p99 from 5 s after 10x", "250 ms", 1, f"{_OVERLOAD}p99 is back within 5 s"),
    Bound("overload", "memory after all", "before", 1.05, f"{_OVERLOAD}no growth of memory"),
    Bound("observability", "CPU a request, on", "off", 1.03, "CPU a request with observability on: < 3 % more"),
    Bound("propagation", "two layers, forward and backward", "torch-geometric's SAGEConv", 1 / 5, _PROPAGATION),
)  # fmt: skip


def judge(sections: Sequence[Section], bounds: Sequence[Bound] = BOUNDS) -> list[Verdict]:
    """A verdict on every bound of the sections that were run."""
    run = {section.name: section for section in sections}
    return [Verdict(bound, _ratio(run[bound.section], bound)) for bound in bounds if bound.section in run]


def _ratio(section: Section, bound: Bound) -> float | None:
    measure = section.measure(bound.measure)
    return measure.ratio(bound.peer) if measure and bound.peer in measure.peers else None
