"""How late a loop, or a process, was served by the machine: so that nobody is blamed for a processor he did not get."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from pathlib import Path

PROBE_SECONDS = 0.005
KEPT = 4_000  # samples: 20 s and more
NANOSECONDS = 1e9


class LagProbe:
    """A timer in the same loop as those whose lateness it explains."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque(maxlen=KEPT)

    async def run(self) -> None:
        while True:
            wanted = time.monotonic() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            now = time.monotonic()
            self._late.append((now, now - wanted))

    def since(self, at: float) -> float:
        """The worst lateness of the timer from that moment on, seconds."""
        worst = 0.0
        for when, late in reversed(self._late):
            if when < at:
                break
            worst = max(worst, late)
        return worst


class ThreadStarvation:
    """The same for all threads of a process, from one look to the next."""

    def __init__(self) -> None:
        self._waited: dict[str, int] = {}  # nanoseconds by /proc path

    def look(self, pid: int) -> float:
        """Seconds that the unluckiest thread has waited since the last look."""
        worst = 0
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                waited = int(path.read_text().split()[1])
            except (OSError, ValueError, IndexError):
                continue
            worst = max(worst, waited - self._waited.get(str(path), waited))
            self._waited[str(path)] = waited
        return worst / NANOSECONDS


class Starvation:
    """How long another process' first thread stood in the run queue without a processor, by the kernel's account."""

    def __init__(self) -> None:
        self._samples: dict[int, list[tuple[float, float]]] = {}

    def sample(self, pid: int) -> None:
        try:
            waited = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / NANOSECONDS
        except (OSError, ValueError, IndexError):
            return
        samples = self._samples.setdefault(pid, [])
        samples.append((time.monotonic(), waited))
        del samples[:-KEPT]

    def between(self, pid: int, begin: float, end: float) -> float:
        """Seconds, from the last sample before `begin` to the first one after `end`."""
        samples = self._samples.get(pid, [])
        if not samples:
            return 0.0
        times = [at for at, _ in samples]
        first = max(0, bisect_left(times, begin) - 1)
        last = min(len(samples) - 1, bisect_left(times, end))
        return samples[last][1] - samples[first][1]
