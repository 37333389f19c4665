"""Which rows go into one call of the model. A call is padded to its longest list, so a long one is felt by all.

Costs are counted in blocked posts of one row, 15 ns each of one core; docs/experiments.md has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from waypost.model.signature import MAX_BATCH, Row
from waypost.release.inputs import ALLOWED_COST, MAX_ALLOWED

CALL_COST = 1 << 18  # of a call of one row over 200,000 posts beyond its share of a full one: 4 ms
MAX_COST = ALLOWED_COST * MAX_ALLOWED  # of one call: as much memory as the largest single row


class _Width(NamedTuple):
    """Lengths of the padded lists."""

    allowed: int
    blocked: int

    @property
    def cost(self) -> int:
        return ALLOWED_COST * self.allowed + self.blocked


@dataclass(frozen=True)
class _Call:
    width: _Width
    rows: list[int]

    @property
    def cost(self) -> int:
        return CALL_COST + len(self.rows) * self.width.cost

    def with_rows_of(self, other: _Call) -> _Call:
        width = _Width(max(self.width.allowed, other.width.allowed), max(self.width.blocked, other.width.blocked))
        return _Call(width, self.rows + other.rows)


def to_calls(rows: Sequence[Row]) -> list[list[int]]:
    """Positions of the rows that go together, each once: as few calls as their padding is worth."""
    calls: list[_Call] = []
    for width, positions in sorted(_by_width(rows).items()):
        call = _Call(width, positions)
        joined = calls[-1].with_rows_of(call) if calls else call
        if calls and joined.cost <= calls[-1].cost + call.cost:
            calls[-1] = joined
        else:
            calls.append(call)
    return [part for call in calls for part in _parts(call)]


def _by_width(rows: Sequence[Row]) -> dict[_Width, list[int]]:
    found: dict[_Width, list[int]] = {}
    for position, row in enumerate(rows):
        width = _Width(_padded(len(row.allowed_posts)), _padded(len(row.blocked_posts)))
        found.setdefault(width, []).append(position)
    return found


def _parts(call: _Call) -> list[list[int]]:
    size = min(MAX_BATCH, max(1, MAX_COST // call.width.cost))
    return [call.rows[start : start + size] for start in range(0, len(call.rows), size)]


def _padded(length: int) -> int:
    """As `signature.pack` pads."""
    return 1 << (max(1, length) - 1).bit_length()
