"""What the measures may at most be, in the words in which it was promised; a measure that is not there is a miss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measures import Section


@dataclass(frozen=True)
class Bound:
    section: str
    measure: str
    peer: str
    most: float  # ours / peer
    words: str
    aim: float | None = None


@dataclass(frozen=True)
class Verdict:
    bound: Bound
    ratio: float | None  # None: not measured

    @property
    def kept(self) -> bool:
        return self.ratio is not None and self.ratio <= self.bound.most

    def __str__(self) -> str:
        found = "not measured" if self.ratio is None else f"{self.ratio:.3g}"
        bound = self.bound
        return f"{bound.section}: {bound.measure} / {bound.peer} is {found}, at most {bound.most:.3g}: {bound.words}"


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
    Bound("propagation", "two layers, forward and backward", "torch-geometric's SAGEConv", 1 / 5, _PROPAGATION),
)  # fmt: skip


def judge(sections: Sequence[Section], bounds: Sequence[Bound] = BOUNDS) -> list[Verdict]:
    """A verdict on every bound of the sections that were run."""
    run = {section.name: section for section in sections}
    return [Verdict(bound, _ratio(run[bound.section], bound)) for bound in bounds if bound.section in run]


def _ratio(section: Section, bound: Bound) -> float | None:
    measure = section.measure(bound.measure)
    return measure.ratio(bound.peer) if measure and bound.peer in measure.peers else None
