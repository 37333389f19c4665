"""What a section of the bench found: each measure of ours beside the same of its peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["s", "ms", "bytes", "ns/edge", "requests/s", "answers", "share"]


@dataclass(frozen=True)
class Measure:
    name: str
    unit: Unit
    ours: float
    peers: Mapping[str, float]
    compared: bool = True  # whether the table shows ours / theirs

    def ratio(self, peer: str) -> float:
        """Less than 1: ours takes less."""
        return self.ours / self.peers[peer] if self.peers[peer] else float("inf")


@dataclass(frozen=True)
class Section:
    name: str  # as --only takes it
    title: str
    measures: tuple[Measure, ...]
    ours: str = "ours"  # heads the column of ours
    notes: tuple[str, ...] = ()
    rounds: int = 1

    def measure(self, name: str) -> Measure | None:
        return next((measure for measure in self.measures if measure.name == name), None)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(peer for measure in self.measures for peer in measure.peers))
