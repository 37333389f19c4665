"""StageTimer: the seconds that one piece of work spent in each of its named stages, faults on purpose included.

Whoever does the work times its own stages; whoever started it reads `seconds` and makes metrics of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from waypost.clock import Clock, SystemClock
from waypost.faults import NO_FAULT, Fault


class StageTimer:
    def __init__(self, model_version: int | None = None, fault: Fault = NO_FAULT, clock: Clock | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.model_version, self._fault = model_version, fault
        self._clock = clock or SystemClock()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the block's seconds to the stage, however the block ends."""
        started = self._clock.monotonic()
        try:
            self.lose(stage)
            yield
        finally:
            self.add(stage, self._clock.monotonic() - started)

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def lose(self, stage: str) -> None:
        """The fault on purpose, where this stage has one."""
        self._clock.sleep(self._fault.delay(stage, self.model_version))

    def apart(self, model_version: int | None) -> StageTimer:
        """An empty one for the same work by that release, in another thread perhaps."""
        return StageTimer(model_version, self._fault, self._clock)

    def absorb(self, other: StageTimer) -> None:
        """What the other measured is part of this work."""
        for stage, seconds in tuple(other.seconds.items()):
            self.add(stage, seconds)
