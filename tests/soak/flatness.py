"""Whether a process stays as large as it is, however much it does: memory by a trend with its interval, threads and
sockets by counting. Pure, but for `read_size`, which looks into /proc.

Samples of memory lie close to those before them, so the trend is fitted to the means of a few dozen blocks; whatever
its interval leaves open is told as "unknown", which is no proof and fails.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

MOST_BYTES_PER_REQUEST = 16.0
BLOCKS = 24
CONFIDENCE = 0.95
EDGE_SHARE = 0.1  # of the samples, at either end, whose counts are compared
MORE_ALLOWED = 3  # threads or sockets: a poll or a scrape that happens to be under way

Verdict = Literal["flat", "grows", "unknown"]


@dataclass(frozen=True)
class Size:
    """Of a process at a moment."""

    requests: float  # answered until then
    resident_bytes: int
    threads: int
    sockets: int


@dataclass(frozen=True)
class Trend:
    """Bytes a request, and the ends of the interval."""

    slope: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        if self.low > MOST_BYTES_PER_REQUEST:
            return "grows"
        return "flat" if self.high <= MOST_BYTES_PER_REQUEST else "unknown"

    def __str__(self) -> str:
        return f"{self.slope:+.2f} bytes a request, {CONFIDENCE:.0%} interval {self.low:+.2f} to {self.high:+.2f}"


def memory_trend(sizes: Sequence[Size]) -> Trend:
    """Of resident memory over requests, by least squares on the means of blocks."""
    blocks = [block for block in np.array_split(np.arange(len(sizes)), BLOCKS) if len(block)]
    x = np.array([np.mean([sizes[i].requests for i in block]) for block in blocks])
    y = np.array([np.mean([sizes[i].resident_bytes for i in block]) for block in blocks])
    found = stats.linregress(x, y)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(blocks) - 2) * found.stderr)
    return Trend(float(found.slope), float(found.slope) - half, float(found.slope) + half)


def count_verdict(counts: Sequence[int]) -> Verdict:
    """Of threads or sockets: whether the most of the last ones is more than the most of the first."""
    edge = max(1, int(EDGE_SHARE * len(counts)))
    return "grows" if max(counts[-edge:]) - max(counts[:edge]) > MORE_ALLOWED else "flat"


def verdicts(sizes: Sequence[Size]) -> dict[str, Verdict]:
    return {
        "memory": memory_trend(sizes).verdict,
        "threads": count_verdict([size.threads for size in sizes]),
        "sockets": count_verdict([size.sockets for size in sizes]),
    }


def read_size(pid: int, requests: float) -> Size:
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Size(requests, int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"]), _sockets(process / "fd"))


def _sockets(folder: Path) -> int:
    found = 0
    for entry in folder.iterdir():
        try:
            found += os.readlink(entry).startswith("socket:")
        except OSError:  # closed since it was listed
            continue
    return found
