"""Classic histograms as numbers: quantiles as Prometheus interpolates them, sums, and what was added between two looks.

Pure. A histogram is its upper edges and, for each, how many observations lie at or below it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import add, sub


@dataclass(frozen=True)
class Counts:
    edges: tuple[float, ...]  # seconds, ascending, the last one +Inf
    cumulative: tuple[float, ...]  # [len(edges)]

    @property
    def total(self) -> float:
        return self.cumulative[-1] if self.cumulative else 0.0

    def quantile(self, share: float) -> float | None:
        """Seconds below which this share lies, by histogram_quantile's rule: linear inside a bucket, and the last
        finite edge for whatever lies beyond it. None of an empty histogram."""
        if not self.total > 0:
            return None
        rank = share * self.total
        at = min(bisect_left(self.cumulative, rank), len(self.edges) - 1)
        if math.isinf(self.edges[at]):
            return self.edges[at - 1] if at else None
        low_edge, low = (self.edges[at - 1], self.cumulative[at - 1]) if at else (0.0, 0.0)
        inside = self.cumulative[at] - low
        return low_edge + (self.edges[at] - low_edge) * ((rank - low) / inside if inside else 1.0)

    def up_to(self, seconds: float) -> float:
        """How many certainly took no longer: those in buckets that end at or before it."""
        at = bisect_right(self.edges, seconds)
        return self.cumulative[at - 1] if at else 0.0

    def slower_than(self, seconds: float) -> float:
        """How many certainly took longer: those in buckets that begin at or after it."""
        at = bisect_left(self.edges, seconds)
        return self.total - self.cumulative[at] if at < len(self.edges) else 0.0

    def plus(self, other: Counts | None) -> Counts:
        """Both together; of histograms with different edges, which two versions of the code may have, this one."""
        if other is None or other.edges != self.edges:
            return self
        return Counts(self.edges, tuple(map(add, self.cumulative, other.cumulative)))

    def since(self, earlier: Counts | None) -> Counts:
        """What came since `earlier`, a look at the same series; all of it where the process began anew meanwhile."""
        if earlier is None or earlier.edges != self.edges or earlier.total > self.total:
            return self
        return Counts(self.edges, tuple(map(sub, self.cumulative, earlier.cumulative)))


def together(parts: list[Counts]) -> Counts | None:
    """The sum; None of nothing."""
    found: Counts | None = None
    for part in parts:
        found = part if found is None else found.plus(part)
    return found
