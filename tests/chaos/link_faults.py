"""What goes wrong on a link, for how long and how often: the proxies ask, the nemesis orders. One seed, one sequence of
choices."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class LinkFault:
    kind: str
    share: float  # of the exchanges that it hits
    until: float  # monotonic seconds
    seconds: float = 0.0  # of a delay


class LinkFaults:
    """Of one link. Used from the proxies' event loop; orders may come from any thread."""

    def __init__(self, seed: str) -> None:
        self._choose = random.Random(seed)
        self._active: list[LinkFault] = []

    def order(self, fault: LinkFault) -> None:
        self._active = [*self._present(), fault]

    def clear(self) -> None:
        self._active = []

    def draw(self, *kinds: str) -> LinkFault | None:
        """The fault that hits this exchange, if one does."""
        for fault in self._present():
            if fault.kind in kinds and self._choose.random() < fault.share:
                return fault
        return None

    def shuffle(self, items: list[dict[str, object]]) -> None:
        self._choose.shuffle(items)

    def spread(self, seconds: float) -> float:
        """A delay between half and all of it."""
        return seconds * (0.5 + self._choose.random() / 2)

    def _present(self) -> list[LinkFault]:
        now = time.monotonic()
        return [fault for fault in self._active if fault.until > now]
