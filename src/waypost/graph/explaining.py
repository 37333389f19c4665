"""Asks Postgres, in one snapshot and without reading a row into this process, what a night would read with a mapping.

Everything is asked over the mapping's own SELECTs, so a role that may read the mapped columns may do all of this. Each
source stands behind a savepoint: one that cannot be read is told, and the others are explained all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from waypost.errors import PostgresUnavailable, SchemaError
from waypost.graph.digests import Digests, read_digests
from waypost.graph.explanation import (
    COST_OF_ABSENCE,
    Cells,
    Column,
    Explained,
    Explanation,
    Kind,
    across_sources,
)
from waypost.graph.mapping import Mapping
from waypost.graph.partitions import (
    FINEST_MICROSECONDS,
    NO_CELL,
    TARGET_CELLS,
    Partition,
    most_cells,
)
from waypost.graph.plans import Plan, plan_of
from waypost.graph.postgres import SessionLimits, SnapshotConnection, open_snapshot
from waypost.graph.rows import MAX_KINDS, read_rows
from waypost.graph.schema import OPTIONAL, REQUIRED, Described, describe, to_wire
from waypost.graph.wire import WireColumn, WireSource
from waypost.limits import MAX_KEY_CHARACTERS

MOST_FIRST_CELLS = 8 * TARGET_CELLS  # of the digest that is asked for here; coarser ones are unions of these
MUCH = 0.5  # of a source's rows: more than that without an id, or orphans, is hardly meant
_NODES = {"user_id": "users", "author_id": "users", "post_id": "posts", "tag_id": "tags"}


def explain(dsn: str, mapping: Mapping, limits: SessionLimits) -> Explanation:
    """Raises PostgresUnavailable when the server cannot be asked; what is wrong with the mapping is in the answer."""
    with open_snapshot(dsn, limits) as sessions:
        version, workers = sessions.first.server_version, limits.server_workers
        described = describe(sessions.first, mapping)
        wires = {one.source.name: to_wire(one, mapping, version) for one in described if not one.problems}
        tasks = [
            partial(_explain_source, described=one, wire=wires.get(one.source.name), mapping=mapping, workers=workers)
            for one in described
        ]
        explained = sessions.run(tasks)
        nodes = {one.name: wires[one.name] for one in explained if one.role in _NODES.values() and not one.problems}
        sources = tuple(
            sessions.run([partial(_count_orphans, explained=one, wires=wires, nodes=nodes) for one in explained])
        )
    warnings, problems = across_sources(sources, mapping, MAX_KINDS)
    keys = {"users": mapping.user_key, "posts": mapping.post_key, "tags": mapping.tag_key}
    return Explanation(mapping.identity, keys, version, sources, tuple(warnings), tuple(problems))


def _explain_source(
    connection: SnapshotConnection, described: Described, wire: WireSource | None, mapping: Mapping, workers: int
) -> Explained:
    source = described.source
    explained = Explained(
        source.name,
        source.role,
        source.select,
        columns=_columns(connection, described),
        absent=_absent(described),
        problems=described.problems,
    )
    if wire is None:
        return explained
    steps: list[Callable[[Explained], Explained]] = [
        partial(_count_rows, connection, wire, workers),
        partial(_count_keys, connection, wire),
        partial(_count_kinds, connection, wire, mapping),
        partial(_weigh, connection, wire, workers),
    ]
    for step in steps:
        explained = _attempted(connection, step, explained)
    return explained


def _attempted(
    connection: SnapshotConnection, step: Callable[[Explained], Explained], explained: Explained
) -> Explained:
    """The source after that step; or with one problem more, once, and the connection as usable as before."""
    if explained.problems:
        return explained
    connection.fetch("SAVEPOINT explained; SELECT 1")
    try:
        return step(explained)
    except (SchemaError, PostgresUnavailable) as error:  # a statement that took too long is among the latter
        connection.fetch("ROLLBACK TO SAVEPOINT explained; SELECT 1")  # raises where the server is gone
        return replace(explained, problems=(f"{explained.name}: {error.cause}",))


def _columns(connection: SnapshotConnection, described: Described) -> tuple[Column, ...]:
    role = described.source.role
    known = {*REQUIRED[role], *OPTIONAL[role]}
    return tuple(
        Column(name, str(connection.fetch(f"SELECT format_type({int(oid)}, NULL)")[0][0]), name in known)
        for name, oid in described.columns.items()
    )


def _absent(described: Described) -> tuple[tuple[str, str], ...]:
    """Optional columns that are not there; a kind that the mapping names is there."""
    source = described.source
    return tuple(
        (name, COST_OF_ABSENCE[source.role, name])
        for name in OPTIONAL[source.role]
        if described.columns and name not in described.columns and not (name == "kind" and source.kind is not None)
    )


def _count_rows(connection: SnapshotConnection, wire: WireSource, workers: int, explained: Explained) -> Explained:
    """Rows, NULLs and what is odd about times and texts, in one pass."""
    read = [column.name for column in explained.columns if column.read]
    figures = [("rows", "count(*)"), ("null_ids", _count_where(f"NOT ({wire.complete})"))]
    figures += [(f"null {name}", _count_where(f'app."{name}" IS NULL')) for name in read]
    if created_at := wire.column("created_at"):
        figures.append(("future", _count_where(f"{created_at.sql} > now() AND isfinite({created_at.sql})")))
    if text := wire.column("text"):
        figures.append(("textless", _count_where(f"({text.sql}) = ''")))
    found = _ask_figures(connection, figures, wire.app_rows, workers)
    columns = tuple(
        replace(column, nulls=found[f"null {column.name}"]) if column.read else column for column in explained.columns
    )
    explained = replace(explained, columns=columns, rows=found["rows"], null_ids=found["null_ids"])
    return replace(explained, warnings=tuple(_odd_rows(explained, found)))


def _odd_rows(explained: Explained, found: dict[str, int]) -> list[str]:
    rows = found["rows"]
    unread = [column.name for column in explained.columns if not column.read]
    timed = "null created_at" in found
    told = [
        (bool(unread), f"nobody reads {', '.join(unread)}"),
        (not rows, "gives no rows"),
        (found["null_ids"] > MUCH * rows, "most rows lack an id and are not used"),
        (timed and 0 < rows == found.get("null created_at"), "no row has a time"),
        (found.get("future", 0) > 0, f"{found.get('future', 0):,} times lie in the future"),
        (0 < rows == found.get("textless"), "no post has text"),
    ]
    return [f"{explained.name}: {sentence}" for holds, sentence in told if holds]


def _count_keys(connection: SnapshotConnection, wire: WireSource, explained: Explained) -> Explained:
    """How often a node's key is given again, and keys that the API could not name."""
    if wire.source.role not in _NODES.values():
        return explained
    (identity,), key = wire.ids, wire.column("key")
    columns = [("id", identity.sql), *([("key", key.sql)] if key else [])]
    rows = (
        f"(SELECT {', '.join(f'{sql} AS {name}' for name, sql in columns)} FROM {wire.app_rows} WHERE {wire.complete})"
    )
    figures = [("complete", "count(*)"), ("ids", "count(DISTINCT id)")]
    if key:
        figures += [
            ("keys", 'count(DISTINCT key COLLATE "C")'),
            ("empty", _count_where("key = ''")),
            ("long", _count_where(f"char_length(key) > {MAX_KEY_CHARACTERS}")),
        ]
    found = _ask_figures(connection, figures, f"{rows} AS keyed")
    repeated = found["complete"] - found.get("keys", found["ids"])
    warnings, problems = _odd_keys(wire, identity.name, found, repeated)
    return replace(
        explained,
        repeated_keys=repeated,
        warnings=(*explained.warnings, *warnings),
        problems=(*explained.problems, *problems),
    )


def _odd_keys(wire: WireSource, column: str, found: dict[str, int], repeated: int) -> tuple[list[str], list[str]]:
    """(warnings, problems). A user given twice is one user; a post or tag given twice has two truths."""
    said = f"{wire.name}: {column} is given again in {repeated:,} rows"
    warnings = [f"{said}, which count once"] if repeated and wire.name == "users" else []
    problems = [f"{said}; make the SELECT give each once"] if repeated and wire.name != "users" else []
    if found.get("keys", 0) > found["ids"]:
        problems.append(f"{wire.name}: two values of {column} have the same 64-bit hash; map integer keys")
    if found.get("empty"):
        warnings.append(f"{wire.name}: the empty text is a key, which `waypost recommend` cannot write")
    if found.get("long"):
        warnings.append(
            f"{wire.name}: keys longer than {MAX_KEY_CHARACTERS} characters, which the API refuses: {found['long']:,}"
        )
    return warnings, problems


def _count_kinds(connection: SnapshotConnection, wire: WireSource, mapping: Mapping, explained: Explained) -> Explained:
    if wire.source.role != "interactions" or explained.rows is None or explained.null_ids is None:
        return explained
    column = wire.column("kind")
    if column is None:
        kind, rows = wire.source.kind or "", explained.rows - explained.null_ids
        return replace(explained, kinds=(Kind(kind, rows, mapping.weight(kind)),) if rows else ())
    found = connection.fetch(
        f"SELECT {column.sql} AS kind, count(*) FROM {wire.app_rows} WHERE {wire.complete}"
        f" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MAX_KINDS + 1}"
    )
    return replace(explained, kinds=tuple(Kind(kind, rows, mapping.weight(kind)) for kind, rows in found))


def _weigh(connection: SnapshotConnection, wire: WireSource, workers: int, explained: Explained) -> Explained:
    """What a night costs: the digest, taken here as it would be then, and the plans of digest and reads."""
    partition = _fine_partition(connection, wire)
    started = time.perf_counter()
    digests = read_digests(connection, wire, partition, workers)
    seconds = time.perf_counter() - started
    if digests.total()[0] != explained.rows:
        raise SchemaError(
            f"two looks at one snapshot gave {explained.rows} and {digests.total()[0]} rows: the SELECT leaves its rows"
            " to chance (random(), LIMIT, TABLESAMPLE)"
        )
    cells = _settled(digests)
    return replace(
        explained, cells=_cell_facts(cells), digest_seconds=seconds, plans=_plans(connection, wire, cells, workers)
    )


def _fine_partition(connection: SnapshotConnection, wire: WireSource) -> Partition:
    """By the column that a night takes, cut about as finely as it could come to matter."""
    column = wire.column("created_at") or wire.ids[0]
    by_time = column.type == "time"
    bound = "extract(epoch FROM at)::float8" if by_time else "at::float8"
    kept = "isfinite(at)" if by_time else "at IS NOT NULL"
    rows = wire.rows([("at", column.sql)])
    ((low, high),) = connection.fetch(f"SELECT min({bound}), max({bound}) FROM {rows} WHERE {kept}")
    span = (high - low) * (1e6 if by_time else 1) if low is not None else 0
    partition = Partition("time" if by_time else "key", column.name, FINEST_MICROSECONDS if by_time else 1)
    while partition.width * MOST_FIRST_CELLS < span and not partition.is_widest:
        partition = partition.coarser()
    return partition


def _settled(fine: Digests) -> Digests:
    """The same rows in about as many cells as the first night chooses; sums of hashes are left behind."""
    most = most_cells(int(fine.complete.sum()))
    partition, cells, complete = fine.partition, fine.cells[fine.complete > 0], fine.complete[fine.complete > 0]
    while len(cells) > most and not partition.is_widest:
        cells, place = np.unique(partition.coarsened(cells), return_inverse=True)
        complete = np.bincount(place, complete).astype(np.int64)
        partition = partition.coarser()
    return Digests(partition, cells, complete, complete, np.zeros(len(cells), np.uint64))


def _cell_facts(digests: Digests) -> Cells:
    partition, timed = digests.partition, digests.complete[digests.cells != NO_CELL]
    cells = len(digests.cells)
    return Cells(
        partition.by,
        partition.column,
        partition.width,
        cells,
        round(int(digests.complete.sum()) / cells) if cells else 0,
        int(timed[-1]) if partition.by == "time" and len(timed) else None,
    )


def _plans(connection: SnapshotConnection, wire: WireSource, digests: Digests, workers: int) -> dict[str, Plan]:
    """A changed cell is the newest, in which most apps change."""
    partition = digests.partition
    plans = {
        "digest": plan_of(connection, partial(read_digests, wire=wire, partition=partition, workers=workers)),
        "read": plan_of(connection, partial(read_rows, wire=wire, workers=workers)),
    }
    if len(digests.cells):
        newest = digests.cells[-1:]
        cell = partial(read_rows, condition=partition.condition(newest), envelope=partition.envelope(newest))
        plans["changed_cell"] = plan_of(connection, partial(cell, wire=wire, workers=workers))
    return plans


def _count_orphans(
    connection: SnapshotConnection, explained: Explained, wires: dict[str, WireSource], nodes: dict[str, WireSource]
) -> Explained:
    """With how many rows an edge leads nowhere; only where all nodes that it names could be read."""
    wire = wires.get(explained.name)
    if wire is None or explained.problems:
        return explained
    named = [column.name for column in wire.columns if column.type == "id" and column not in _own_key(wire)]
    if not named or any(_NODES[name] not in nodes for name in named):
        return explained
    return _attempted(connection, partial(_ask_orphans, connection, wire, named, nodes), explained)


def _own_key(wire: WireSource) -> tuple[WireColumn, ...]:
    return wire.ids if wire.source.role in _NODES.values() else ()


def _ask_orphans(
    connection: SnapshotConnection,
    wire: WireSource,
    named: Sequence[str],
    nodes: dict[str, WireSource],
    explained: Explained,
) -> Explained:
    figures = [(name, _count_where(f"{name}_node.id IS NULL")) for name in named]
    figures.append(("rows", _count_where(" OR ".join(f"{name}_node.id IS NULL" for name in named))))
    columns = ", ".join(f"{column.sql} AS {column.name}" for column in wire.columns if column.name in named)
    whole = 'app."author_id" IS NOT NULL AND ' if named == ["author_id"] else ""
    edges = f"(SELECT {columns} FROM {wire.app_rows} WHERE {whole}{wire.complete}) AS edge"
    for name in named:
        edges += f" LEFT JOIN {_node_ids(nodes[_NODES[name]])} AS {name}_node ON {name}_node.id = edge.{name}"
    found = _ask_figures(connection, figures, edges)
    orphan_rows = found.pop("rows")
    warnings = explained.warnings
    if orphan_rows > MUCH * ((explained.rows or 0) - (explained.null_ids or 0)):
        warnings = (*warnings, f"{explained.name}: most rows are orphans; are the keys the same as those of the nodes?")
    return replace(explained, orphans=found, orphan_rows=orphan_rows, warnings=warnings)


def _node_ids(node: WireSource) -> str:
    return f"(SELECT DISTINCT {node.ids[0].sql} AS id FROM {node.app_rows} WHERE {node.complete})"


def _count_where(condition: str) -> str:
    return f"count(*) FILTER (WHERE {condition})"


def _ask_figures(
    connection: SnapshotConnection, figures: Sequence[tuple[str, str]], rows: str, workers: int = 0
) -> dict[str, int]:
    """One row of counts, by name."""
    setting = f"SET LOCAL max_parallel_workers_per_gather = {int(workers)}"
    (found,) = connection.fetch(f"{setting}; SELECT {', '.join(sql for _, sql in figures)} FROM {rows}")
    return {name: int(count) for (name, _), count in zip(figures, found, strict=True)}
