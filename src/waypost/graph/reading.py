"""One snapshot of the app's Postgres as GraphTensors: brought up to date from the cache, or read whole.

While the server computes tonight's digests, the last night's graph comes from S3; cells whose digests differ are read
again, in the same snapshot. A cache that is not whole is as good as none. The snapshot is let go before anything is
built or written. No retries here: an error means that this snapshot is worth nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from waypost.errors import CorruptObject, EmptyGraph, SchemaError
from waypost.graph.digests import Digests, changed_cells, coarsened, fingerprint_of, read_digests
from waypost.graph.encoding import encode_changes
from waypost.graph.facts import GraphRead, ReadCosts
from waypost.graph.mapping import Mapping as SchemaMapping
from waypost.graph.partitions import Partition, choose_partition
from waypost.graph.postgres import SessionLimits, SnapshotConnection, SnapshotSessions, open_snapshot
from waypost.graph.rows import SourceRows, joined_rows, parts, read_rows, require_count, require_counts
from waypost.graph.schema import check_schema
from waypost.graph.state import GraphState, source_facts, to_tensors
from waypost.graph.store import (
    Night,
    is_compact,
    load_base,
    load_digests,
    load_night,
    newest_night,
    save_base,
    save_delta,
)
from waypost.graph.tensors import Int64Array
from waypost.graph.updating import Change, build, later, update
from waypost.graph.wire import WireSource
from waypost.logs import stage
from waypost.memory import keep_freed_memory
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
OUTGROWN = 4  # times as wide as they would be chosen tonight, from which on cells are cut anew
MOST_GROUPED_ROWS = 500_000  # come as arrays, which the server holds meanwhile: some 30 bytes a row
WHOLE_SHARE = 0.5  # of a source's rows in changed cells, from which on it is read whole


@dataclass
class _Meter:
    """What reading took so far."""

    seconds: dict[str, float] = field(default_factory=dict)
    postgres_bytes: int = 0
    snapshot_age_seconds: float = 0.0
    cache_read_bytes: int = 0
    cache_written_bytes: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, object]]:
        started = time.perf_counter()
        with stage(logger, name) as found:
            yield found
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def left(self, sessions: SnapshotSessions) -> None:
        """The snapshot is about to be let go."""
        self.postgres_bytes, self.snapshot_age_seconds = sessions.bytes_read, sessions.age_seconds()


@dataclass(frozen=True, eq=False)
class _Found:
    """What one snapshot gave."""

    taken_at: float
    server_version: int
    digests: Mapping[str, Digests]
    changes: Mapping[str, Change]  # since `previous`; of nothing, without one
    previous: Night | None = None
    base: GraphState | None = None
    kept: Mapping[str, Change] = field(default_factory=dict)  # the deltas of the base


_Find = Callable[[SnapshotSessions, list[WireSource], ObjectStore, SchemaMapping, _Meter], _Found]


def read_graph(dsn: str, store: ObjectStore, mapping: SchemaMapping, limits: SessionLimits) -> GraphRead:
    """The graph of this moment, and it is in the cache. Raises PostgresUnavailable, SchemaError, EmptyGraph or
    StoreUnavailable; nothing is kept then that a later night would take for whole."""
    try:
        return _read(dsn, store, mapping, limits, _find_changes)
    except CorruptObject as error:
        logger.warning("the cache is not whole, reading everything", extra={"cause": str(error)})
        return _read(dsn, store, mapping, limits, _find_everything)


def _read(dsn: str, store: ObjectStore, mapping: SchemaMapping, limits: SessionLimits, find: _Find) -> GraphRead:
    meter = _Meter()
    with open_snapshot(dsn, limits) as sessions:
        with meter.stage("schema checked"):
            wires = check_schema(sessions.first, mapping)
        found = find(sessions, wires, store, mapping, meter)
        meter.left(sessions)
    keep_freed_memory()  # not before: a buffer of COPY grows in place where it is a mapping of its own
    with meter.stage("tensors built") as told:
        state = _built(found, mapping)
        tensors = to_tensors(state, mapping)
        told.update(users=tensors.num_users, posts=tensors.num_posts, interactions=len(tensors.interactions))
    _require_something(state)
    fingerprint = fingerprint_of(mapping, found.server_version, found.digests)
    with meter.stage("tensors kept"):
        meter.cache_written_bytes = _keep(store, fingerprint, found, state, mapping)
    costs = ReadCosts(
        meter.seconds,
        meter.postgres_bytes,
        meter.cache_read_bytes,
        meter.cache_written_bytes,
        meter.snapshot_age_seconds,
    )
    return GraphRead(fingerprint, tensors, source_facts(state, mapping, found.digests), found.taken_at, costs)


def read_whole(sessions: SnapshotSessions, wires: list[WireSource]) -> dict[str, Change]:
    """Every row of every source, several connections at a time."""
    wanted = [(wire, condition) for wire in _longest_first(wires) for condition in _parts(wire, sessions.count)]
    rows = sessions.run([partial(read_rows, wire=wire, condition=condition) for wire, condition in wanted])
    pieces: dict[str, list[SourceRows]] = {wire.name: [] for wire in wires}
    for (wire, _), piece in zip(wanted, rows, strict=True):
        pieces[wire.name].append(piece)
    return {name: Change(joined_rows(found)) for name, found in pieces.items()}


def _find_everything(
    sessions: SnapshotSessions, wires: list[WireSource], store: ObjectStore, mapping: SchemaMapping, meter: _Meter
) -> _Found:
    with meter.stage("snapshot read") as told:
        changes = read_whole(sessions, wires)
        told["rows"] = sum(change.rows.count for change in changes.values())
    with meter.stage("digests read"):
        partitions = {wire.name: _partition(wire, changes[wire.name].rows) for wire in wires}
        digests = _read_digests(sessions, wires, partitions)
    for name, change in changes.items():
        require_count(change.rows, digests[name].total()[1], name)
    return _Found(sessions.taken_at, sessions.first.server_version, digests, changes)


def _find_changes(
    sessions: SnapshotSessions, wires: list[WireSource], store: ObjectStore, mapping: SchemaMapping, meter: _Meter
) -> _Found:
    """Since the last night, whose graph is fetched meanwhile; everything, where there was none."""
    version = sessions.first.server_version
    previous = newest_night(store, mapping, version)
    if previous is None:
        return _find_everything(sessions, wires, store, mapping, meter)
    before = load_digests(store, previous)
    if not all(_can_cut(before[wire.name].partition, wire) for wire in wires):
        return _find_everything(sessions, wires, store, mapping, meter)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load_base, store, previous)
        with meter.stage("digests read"):
            digests = _read_digests(sessions, wires, {name: digest.partition for name, digest in before.items()})
        with meter.stage("changes read") as told:
            cells = {name: changed_cells(before[name], digest) for name, digest in digests.items()}
            changes = _read_changes(sessions, wires, digests, cells)
            told["rows"] = sum(change.rows.count for change in changes.values())
            digests |= _cut_anew(sessions, wires, changes, digests)
        with meter.stage("base awaited"):
            base, kept = loading.result()
    meter.cache_read_bytes = sum(entry.size for entry in previous.objects)
    return _Found(sessions.taken_at, version, digests, changes, previous, base, kept)


def _read_digests(
    sessions: SnapshotSessions, wires: list[WireSource], partitions: Mapping[str, Partition]
) -> dict[str, Digests]:
    wires = _longest_first(wires)
    tasks = [
        partial(read_digests, wire=wire, partition=partitions[wire.name], workers=sessions.server_workers)
        for wire in wires
    ]
    return {wire.name: digest for wire, digest in zip(wires, sessions.run(tasks), strict=True)}


def _read_changes(
    sessions: SnapshotSessions,
    wires: list[WireSource],
    digests: Mapping[str, Digests],
    cells: Mapping[str, Int64Array],
) -> dict[str, Change]:
    changed = [wire for wire in _longest_first(wires) if len(cells[wire.name])]
    tasks = [
        partial(
            _read_change,
            wire=wire,
            digests=digests[wire.name],
            cells=cells[wire.name],
            workers=sessions.server_workers,
        )
        for wire in changed
    ]
    return {wire.name: change for wire, change in zip(changed, sessions.run(tasks), strict=True)}


def _read_change(
    connection: SnapshotConnection, wire: WireSource, digests: Digests, cells: Int64Array, workers: int
) -> Change:
    """The rows of the changed cells; of all cells, where most have changed."""
    expected, complete = sum(digests.counts_in(cells).values()), int(digests.complete.sum())
    if expected > WHOLE_SHARE * complete:
        rows = read_rows(connection, wire, workers=workers)
        require_count(rows, complete, wire.name)
        return Change(rows)
    partition = digests.partition
    grouping = partition.sql() if expected <= MOST_GROUPED_ROWS else ""
    rows = read_rows(connection, wire, partition.condition(cells), workers, partition.envelope(cells), grouping)
    require_counts(rows, partition, digests.counts_in(cells), wire.name)
    return Change(rows, partition, cells)


def _cut_anew(
    sessions: SnapshotSessions, wires: list[WireSource], changes: Mapping[str, Change], digests: Mapping[str, Digests]
) -> dict[str, Digests]:
    """Finer digests of sources that have outgrown their cells; only what was read whole tonight can be cut anew."""
    finer = {}
    for wire in wires:
        if wire.name in changes and changes[wire.name].cells is None:
            partition = _partition(wire, changes[wire.name].rows)
            if partition.width * OUTGROWN <= digests[wire.name].partition.width:
                finer[wire.name] = partition
    return _read_digests(sessions, [wire for wire in wires if wire.name in finer], finer)


def _can_cut(partition: Partition, wire: WireSource) -> bool:
    """Whether the column that the last night cut by is still there: a `SELECT *` gives what the table has."""
    column = wire.column(partition.column)
    return column is not None and (column.type == "time") == (partition.by == "time")


def _longest_first(wires: list[WireSource]) -> list[WireSource]:
    """So that no connection starts on the interactions when the others are done."""
    roles = ("interactions", "posts")
    return sorted(wires, key=lambda wire: roles.index(wire.source.role) if wire.source.role in roles else len(roles))


def _parts(wire: WireSource, connections: int) -> list[str]:
    """Interactions are shared out; the other sources are shorter than a part of them."""
    return parts(wire.ids[0].name, connections if wire.source.role == "interactions" else 1)


def _partition(wire: WireSource, rows: SourceRows) -> Partition:
    """By time, in which apps change, where the source has one; else by its first key."""
    if wire.column("created_at"):
        return choose_partition("time", "created_at", rows.columns["created_at"])
    name = wire.ids[0].name
    return choose_partition("key", name, rows.columns[name].astype(np.int64))


def _built(found: _Found, mapping: SchemaMapping) -> GraphState:
    if found.base is None:
        return build(found.changes, mapping)
    try:
        return update(found.base, later(found.kept, found.changes), mapping)
    except SchemaError as error:  # perhaps only the sum of the nights is no graph: too many kinds, old and new
        raise CorruptObject(f"what is kept and tonight's changes make no graph: {error.cause}") from error


def _require_something(state: GraphState) -> None:
    users, posts, interactions = len(state.users), len(state.posts), len(state.interactions)
    if not users or not posts or not interactions:
        raise EmptyGraph(
            f"nothing to learn from: {users} users, {posts} posts, {interactions} interactions",
            "run `waypost load DIR` first; with a mapping, `waypost schema check` shows what it selects",
        )


def _keep(store: ObjectStore, fingerprint: str, found: _Found, state: GraphState, mapping: SchemaMapping) -> int:
    """Write a delta, or a base where there is none to build on; returns the bytes.

    Where the cache was of no use, this very graph may be there and damaged, so it is written all the same.
    """
    previous = found.previous
    if previous is not None and previous.fingerprint == fingerprint and _is_kept(store, fingerprint):
        return 0
    counts = {name: digest.total()[0] for name, digest in found.digests.items()}
    night = Night(fingerprint, mapping, found.server_version // 10_000, found.taken_at, counts, ())
    if previous is not None and previous.fingerprint != fingerprint:
        delta = encode_changes(found.changes)
        if is_compact(previous, len(delta)):
            written = save_delta(store, night, previous, delta, found.digests)
            if _is_kept(store, previous.fingerprint):  # else a gc is taking what the delta builds on (retention.py)
                return written
    digests = {name: coarsened(digest) for name, digest in found.digests.items()}
    return save_base(store, night, state, digests)


def _is_kept(store: ObjectStore, fingerprint: str) -> bool:
    try:
        return load_night(store, fingerprint) is not None
    except CorruptObject:
        return False
