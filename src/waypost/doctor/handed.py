"""What one look hands to another: the release's golden questions, from the bucket to whoever asks its model."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """What the served model must answer."""

    version: int
    golden: bytes  # golden.json, verified


class Handed:
    """From the look at the release to the look at its model; closed with nothing where there is no such release."""

    def __init__(self) -> None:
        self._asked: Asked | None = None
        self._done = threading.Event()

    def hand(self, asked: Asked | None) -> None:
        if not self._done.is_set():
            self._asked = asked
            self._done.set()

    def wait(self, seconds: float) -> Asked | None:
        self._done.wait(seconds)
        return self._asked
