"""Query plans: what Postgres expects of the very statements that a night would send, without running them.

`PlanningConnection` stands where a snapshot's connection stands: what is to be copied from it is explained instead, and
gives no rows. So nobody writes the night's SQL a second time, only to describe it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from waypost.graph.postgres import SnapshotConnection

# A binary COPY stream of no rows: signature, flags, length of the header's extension, trailer.
_NO_ROWS = memoryview(b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff")


@dataclass(frozen=True)
class Plan:
    cost: float  # in the planner's own unit: one page read in sequence
    rows: int  # that it expects
    row_bytes: int
    scans: tuple[str, ...]  # how tables are read: "Seq Scan on likes", "Index Scan using likes_at on likes"

    @property
    def by_index(self) -> bool:
        """Whether no table is read from end to end."""
        return bool(self.scans) and not any(scan.startswith("Seq Scan") for scan in self.scans)


class PlanningConnection(SnapshotConnection):
    """Explains, on `asked`, what it is asked to copy."""

    def __init__(self, asked: SnapshotConnection) -> None:
        self._asked = asked
        self.server_version = asked.server_version
        self.bytes_read = 0
        self.plans: list[Plan] = []

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self._asked.fetch(sql)

    def copy_binary(self, select: str, workers: int = 0) -> memoryview:
        setting = f"SET LOCAL max_parallel_workers_per_gather = {int(workers)}"
        ((found,),) = self._asked.fetch(f"{setting}; EXPLAIN (FORMAT JSON) {select}")
        self.plans.append(_parse_plan(found[0]["Plan"]))
        return _NO_ROWS


def plan_of(connection: SnapshotConnection, read: Callable[[SnapshotConnection], object]) -> Plan:
    """The plan of the one statement that `read` copies."""
    planning = PlanningConnection(connection)
    read(planning)
    (plan,) = planning.plans
    return plan


def _parse_plan(top: dict[str, Any]) -> Plan:
    scans = dict.fromkeys(_scan(node) for node in _nodes(top) if "Relation Name" in node or "Index Name" in node)
    return Plan(float(top["Total Cost"]), int(top["Plan Rows"]), int(top["Plan Width"]), tuple(scans))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _scan(node: dict[str, Any]) -> str:
    index = f" using {node['Index Name']}" if "Index Name" in node else ""
    table = f" on {node['Relation Name']}" if "Relation Name" in node else ""
    return f"{node['Node Type']}{index}{table}"
