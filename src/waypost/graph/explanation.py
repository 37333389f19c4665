"""Explanation: what a night would read from the app's tables and what that costs, as values and as text for people.

Pure. How it is found out stands in explaining.py. A problem is what would stop the night, a warning what is likely not
meant; both are whole sentences, because this is read by the person who is just writing the mapping."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from waypost.errors import SchemaError
from waypost.graph.mapping import Mapping, Role
from waypost.graph.plans import Plan
from waypost.graph.tensors import KeyType

# What the model loses where a SELECT does not give the column.
COST_OF_ABSENCE: dict[tuple[Role, str], str] = {
    ("posts", "author_id"): "an author says nothing about a post",
    ("posts", "created_at"): "a post is as old as its first interaction",
    ("posts", "title"): "less text: a new post is known less well, a query finds less",
    ("posts", "body"): "less text: a new post is known less well, a query finds less",
    ("interactions", "kind"): "all of its interactions are of one kind",
    ("interactions", "created_at"): "interactions in no order: judged on a random part, and popularity does not age",
}


@dataclass(frozen=True)
class Column:
    """One column that the SELECT gives."""

    name: str
    type: str
    read: bool  # whether the night reads it
    nulls: int | None = None  # None: not read, or not counted


@dataclass(frozen=True)
class Kind:
    kind: str
    rows: int
    weight: float


@dataclass(frozen=True)
class Cells:
    """How the source is cut for increments: a changed row costs reading its whole cell again."""

    by: str  # time or key
    column: str
    width: int  # microseconds, or neighbouring keys
    cells: int
    rows_per_cell: int  # on average
    newest_cell_rows: int | None  # by time only: what a night of nothing but new rows reads besides them


@dataclass(frozen=True)
class Explained:
    """One source of the mapping. What could not be found out is None or empty, and `problems` says why."""

    name: str
    role: Role
    select: str
    columns: tuple[Column, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()  # (optional column that is not there, what that costs the model)
    rows: int | None = None
    null_ids: int | None = None  # rows without an id they need: not used
    repeated_keys: int | None = None  # of users, posts and tags
    orphans: dict[str, int] = field(default_factory=dict)  # column -> rows that name nothing the node SELECT gives
    orphan_rows: int | None = None  # in any of these columns: not used, save posts, which then have no author
    kinds: tuple[Kind, ...] = ()
    cells: Cells | None = None
    digest_seconds: float | None = None
    plans: dict[str, Plan] = field(default_factory=dict)  # digest, read, changed_cell
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    mapping: str  # its identity: another one means one whole read
    keys: dict[str, KeyType]
    server_version: int
    sources: tuple[Explained, ...]
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def all_problems(self) -> tuple[str, ...]:
        return (*(problem for source in self.sources for problem in source.problems), *self.problems)

    def require_readable(self) -> None:
        """Raises SchemaError naming every problem."""
        if self.all_problems:
            raise SchemaError("; ".join(self.all_problems), "see docs/mapping.md")


def to_json(explanation: Explanation) -> str:
    return json.dumps({"ok": not explanation.all_problems, **asdict(explanation)})


def to_text(explanation: Explanation) -> str:
    keys = ", ".join(f"{nodes} {key}" for nodes, key in explanation.keys.items())
    version = explanation.server_version
    head = f"mapping {explanation.mapping}, keys: {keys}; Postgres {version // 10_000}.{version % 10_000}"
    sources = ["\n".join(_source_lines(source)) for source in explanation.sources]
    return "\n\n".join([head, *sources, "\n".join(_conclusion(explanation))])


def across_sources(sources: tuple[Explained, ...], mapping: Mapping, max_kinds: int) -> tuple[list[str], list[str]]:
    """(warnings, problems) that no source has alone."""
    warnings = [] if any(source.role == "tags" for source in sources) else ["no tags: a filter by tag matches nothing"]
    edges = [source for source in sources if source.role == "interactions"]
    if any(source.rows is None for source in edges):
        return warnings, []  # without all interactions nothing can be said of all kinds
    rows = {role: sum(source.rows or 0 for source in sources if source.role == role) for role in ("users", "posts")}
    found = [kind for source in edges for kind in source.kinds]
    names = sorted({kind.kind for kind in found})
    strangers = sorted({kind for kind, _ in mapping.weights} - set(names))
    warnings += [f"weights.{kind}: no interaction is of this kind" for kind in strangers]
    if not all(rows.values()) or not any(kind.rows and kind.weight for kind in found):
        warnings.append("nothing to learn from: it takes users, posts, and interactions of a kind with a weight")
    problems = [
        f"the kind {kind!r} is given by {' and '.join(givers)}; name one otherwise, or join the SELECTs by UNION ALL"
        for kind in names
        if len(givers := [source.name for source in edges if any(own.kind == kind for own in source.kinds)]) > 1
    ]
    if len(names) > max_kinds:
        problems.append(f"there are {len(names)} kinds of interactions, at most {max_kinds} are read")
    return warnings, problems


def _source_lines(source: Explained) -> Iterator[str]:
    counted = "" if source.rows is None else f": {_count(source.rows, 'row')}"
    yield f"{source.name} ({source.role}){counted}"
    facts = list(_facts(source))
    width = max(len(label) for label, _ in facts)
    for label, text in facts:
        yield f"  {label:{width}}  {text}"


def _facts(source: Explained) -> Iterator[tuple[str, str]]:
    yield "mapped", " ".join(source.select.split())
    width = max((len(column.type) for column in source.columns), default=0)
    for column in source.columns:
        yield column.name, f"{column.type:{width}}  {_use(column)}"
    for name, cost in source.absent:
        yield name, f"{'absent':{width}}  {cost}"
    if source.null_ids:
        yield "not used", f"{_count(source.null_ids, 'row')} without an id"
    if source.repeated_keys:
        yield "given again", f"{_count(source.repeated_keys, 'key')}"
    if source.orphan_rows is not None:
        yield "orphans", _orphans_text(source)
    for kind in source.kinds:
        yield "kind", f"{kind.kind!r}: {_count(kind.rows, 'row')}, weight {kind.weight:g}{_remark(kind)}"
    yield from _costs(source)
    yield from (("warning", text) for text in source.warnings)
    yield from (("problem", text) for text in source.problems)


def _orphans_text(source: Explained) -> str:
    by_column = ", ".join(f"{column} {rows:,}" for column, rows in source.orphans.items())
    return f"{_count(source.orphan_rows or 0, 'row')} naming what no SELECT above gives ({by_column})"


def _costs(source: Explained) -> Iterator[tuple[str, str]]:
    if source.cells is not None:
        yield "cells", _cells_text(source.cells)
    for name, label in (("digest", "every night"), ("changed_cell", "a changed cell"), ("read", "read whole")):
        if plan := source.plans.get(name):
            yield label, f"{_effort(source, name, plan)}, cost {plan.cost:,.0f}: {', '.join(plan.scans) or 'no table'}"


def _effort(source: Explained, name: str, plan: Plan) -> str:
    if name == "digest":
        return f"digested on the server, {source.digest_seconds or 0:.2f} s now"
    if name == "changed_cell":
        rows = source.cells.rows_per_cell if source.cells else 0
        return f"about {_size(rows * plan.row_bytes)}, {'by' if plan.by_index else 'no'} index"
    return f"about {_size((source.rows or 0) * plan.row_bytes)}"


def _cells_text(cells: Cells) -> str:
    width = f" of {_span(cells.width)}" if cells.by == "time" else ""
    newest = "" if cells.newest_cell_rows is None else f", {cells.newest_cell_rows:,} in the newest"
    each = f"{_count(cells.rows_per_cell, 'row')} each"
    return f"{_count(cells.cells, 'cell')} by {cells.column}{width}, {each}{newest}; a changed row costs its cell"


def _span(microseconds: int) -> str:
    seconds = microseconds / 1e6
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def _use(column: Column) -> str:
    if not column.read:
        return "not read"
    return "read" if column.nulls is None else f"{column.nulls:,} NULL"


def _remark(kind: Kind) -> str:
    return ": seen, never taught" if kind.weight == 0 else ""


def _conclusion(explanation: Explanation) -> Iterator[str]:
    yield from (f"warning: {text}" for text in explanation.warnings)
    yield from (f"problem: {text}" for text in explanation.problems)
    problems = len(explanation.all_problems)
    yield "a night can read this" if not problems else f"a night cannot read this: {_count(problems, 'problem')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
