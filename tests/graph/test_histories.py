"""Whatever an app's writers do, the incremental night ends where reading everything does: byte for byte, with no edge
that dangles, and as plain SELECTs say it should be. The usual method by `updated_at` fails the same comparison.

`make test-faults` runs ten times as many histories."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from tests.graph.histories import (
    BUILT_IN,
    COPIES,
    DELETES,
    LOOSE,
    MOVES,
    OPTIONS,
    PLAIN,
    REFILLS,
    WORLDS,
    Habits,
    History,
    Step,
    World,
    people_interact,
    posts_are_edited,
    writers,
)
from tests.graph.truth import Rows, Truth, bytes_of, dangling, differences, expected, is_empty, read_rows
from waypost.errors import EmptyGraph
from waypost.graph.facts import GraphRead
from waypost.graph.partitions import MOST_CELLS
from waypost.graph.postgres import SessionLimits
from waypost.graph.reading import read_graph
from waypost.graph.store import MOST_DELTAS, Night, list_nights, load_digests, load_night, load_tensors
from waypost.graph.tensors import GraphTensors, pair_key
from waypost.objects.memory import MemoryObjectStore

HISTORIES, MANY_HISTORIES = 6, 80  # of each of four worlds
NIGHTS = 4
WHOLE_LIMITS = SessionLimits(connections=1, server_workers=0)
Settle = Callable[[World], tuple[list[Connection], Connection]]


@pytest.fixture
def settle(postgres_dsn: str) -> Iterator[Settle]:
    """The world's schema in this test's own database: connections of its writers, and one that only looks on."""
    with ExitStack() as opened:

        def settled(world: World) -> tuple[list[Connection], Connection]:
            *connections, onlooker = opened.enter_context(writers(postgres_dsn, world))
            return connections, onlooker

        yield settled


class NaiveReader:
    """The usual way: rows whose updated_at is later than any that was seen; what is gone or changed stays beside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._marks = dict.fromkeys(world.tables, datetime(1, 1, 1, tzinfo=UTC))
        self._rows = Rows([], [], [], [], {name: [] for name in world.truth.interactions})

    def read(self, cursor: Cursor) -> GraphTensors:
        news, kept = read_rows(cursor, self._since()), self._rows
        self._rows = Rows(
            [*kept.users, *news.users],
            [*kept.posts, *news.posts],
            [*kept.tags, *news.tags],
            [*kept.post_tags, *news.post_tags],
            {name: [*rows, *news.interactions[name]] for name, rows in kept.interactions.items()},
        )
        for table, mark in self._marks.items():
            cursor.execute(f"SELECT greatest(max(updated_at), %s) FROM {table}", (mark,))
            self._marks[table] = cursor.fetchall()[0][0]
        return expected(self._rows, self._world.mapping)

    def _since(self) -> Truth:
        truth = self._world.truth
        return Truth(
            self._newer(truth.users, "users"),
            self._newer(truth.posts, "posts"),
            self._newer(truth.tags, "tags"),
            self._newer(truth.post_tags, "post_tags"),
            {
                name: self._newer(select, edges.table)
                for (name, select), edges in zip(truth.interactions.items(), self._world.edges, strict=True)
            },
        )

    def _newer(self, select: str, table: str) -> str:
        joint = "AND" if " WHERE " in select else "WHERE"
        return f"{select} {joint} updated_at > '{self._marks[table].isoformat()}'"


@dataclass
class Seen:
    """How far the histories reached, so that a test that compares nothing is found out."""

    counts: Counter[str] = field(default_factory=Counter)

    def note(self, found: GraphRead, night: Night) -> None:
        self.counts["nights from the cache" if "base awaited" in found.costs.seconds else "nights read whole"] += 1
        self.counts[("bases", "first deltas", "further deltas")[min(len(night.deltas), 2)]] += 1

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))


def read(dsn: str, store: MemoryObjectStore, world: World, limits: SessionLimits) -> GraphRead | None:
    """None where there is nothing to learn from."""
    try:
        return read_graph(dsn, store, world.mapping, limits)
    except EmptyGraph:
        return None


def true_tensors(onlooker: Connection, world: World) -> GraphTensors:
    """Of all that is committed now."""
    with onlooker, onlooker.cursor() as cursor:
        return expected(read_rows(cursor, world.truth), world.mapping)


def naive_tensors(onlooker: Connection, naive: NaiveReader) -> GraphTensors:
    with onlooker, onlooker.cursor() as cursor:
        return naive.read(cursor)


def check_history(dsn: str, onlooker: Connection, history: History, nights: int, seen: Seen) -> list[Night]:
    """Every night of the history, against the truth and against a night that has no cache."""
    store, world, naive = MemoryObjectStore(), history.world, NaiveReader(history.world)
    limits = SessionLimits(connections=1 + history.seed % 3, server_workers=history.seed % 2)
    kept, naive_is_right = [], True
    for night in history.nights(nights):
        where = f"{world.name}, seed {history.seed}, night {night}: {history.told[-30:]}"
        truth = true_tensors(onlooker, world)
        naive_is_right &= not differences(naive_tensors(onlooker, naive), truth)
        full = read(dsn, MemoryObjectStore(), world, WHOLE_LIMITS)
        found = read(dsn, store, world, limits)
        if is_empty(truth):
            assert full is found is None, where
            seen.counts["empty nights"] += 1
            continue
        assert full is not None, where
        assert found is not None, where
        kept.append(check_night(store, truth, full, found, where))
        seen.note(found, kept[-1])
    seen.counts["histories where updated_at is enough"] += naive_is_right
    return kept


def check_night(store: MemoryObjectStore, truth: GraphTensors, full: GraphRead, found: GraphRead, where: str) -> Night:
    assert differences(full.tensors, truth) == [], where
    assert differences(found.tensors, truth) == [], where
    assert dangling(found.tensors) == [], where
    assert (found.fingerprint, found.sources) == (full.fingerprint, full.sources), where
    kept, night = load_tensors(store, found.fingerprint), load_night(store, found.fingerprint)
    assert kept is not None, where
    assert night is not None, where
    assert differences(kept, truth) == [], where
    return night


def test_a_seed_tells_the_same_history_again(settle: Settle) -> None:
    connections, onlooker = settle(LOOSE)
    told = []
    for _ in range(2):
        history = History(LOOSE, connections, 11)
        nights = [bytes_of(true_tensors(onlooker, LOOSE)) for _ in history.nights(NIGHTS)]
        told.append((nights, history.told))
    assert told[0] == told[1]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@pytest.mark.parametrize(
    "seeds",
    [range(HISTORIES), pytest.param(range(1_000, 1_000 + MANY_HISTORIES), marks=[pytest.mark.faults])],
    ids=lambda seeds: f"{len(seeds)} histories",
)
def test_after_every_night_the_incremental_graph_is_the_whole_graph_and_updated_at_is_not_enough(
    postgres_dsn: str, settle: Settle, world: World, seeds: range
) -> None:
    connections, onlooker = settle(world)
    seen = Seen()
    for seed in seeds:
        check_history(postgres_dsn, onlooker, History(world, connections, seed), NIGHTS, seen)
    print(f"{len(seeds)} histories of {world.name}: {seen}")
    assert seen.counts["nights from the cache"] > 2 * len(seeds)
    assert seen.counts["first deltas"] > 0 < seen.counts["further deltas"]
    assert seen.counts["histories where updated_at is enough"] < len(seeds) / 2


SORTS: dict[str, tuple[Sequence[Step], Habits, bool]] = {  # steps, habits, whether updated_at is enough
    "inserts that are committed or rolled back at once": (PLAIN, Habits(0, 0.3, 0, 0), True),
    "transactions that commit late": ((people_interact,), Habits(0.6, 0, 0, 0), False),
    "deletes": ((*PLAIN, *DELETES), Habits(0, 0, 0, 0), False),
    "rows that move": ((*PLAIN, *MOVES), Habits(0, 0, 0, 0), False),
    "updates that forget the stamp": ((*PLAIN, posts_are_edited), Habits(0, 0, 0, 1), False),
    "copies with the stamp of the original": ((*PLAIN, *COPIES), Habits(0, 0, 0, 0), False),
    "tables that are truncated and filled again": ((*PLAIN, *REFILLS), Habits(0, 0, 0, 0), False),
    "clocks that are set back": (PLAIN, Habits(0, 0, 0.5, 0), False),
}


@pytest.mark.parametrize("sort", SORTS)
def test_updated_at_is_enough_for_prompt_inserts_and_for_nothing_else(
    postgres_dsn: str, settle: Settle, sort: str
) -> None:
    """The control: the comparison can fail, and each sort of adversity alone makes it fail."""
    steps, habits, is_enough = SORTS[sort]
    connections, onlooker = settle(BUILT_IN)
    seen = Seen()
    for seed in range(4):
        history = History(BUILT_IN, connections, seed, steps, habits, quiet=False)
        check_history(postgres_dsn, onlooker, history, NIGHTS, seen)
    enough = seen.counts["histories where updated_at is enough"]
    print(f"{sort}: updated_at is enough in {enough} of 4 histories")
    assert enough == 4 if is_enough else enough < 4


CALM = """
    INSERT INTO users (user_id) SELECT i FROM generate_series(1, 200) AS i;
    INSERT INTO posts (post_id, title, created_at) SELECT i, noise, '2026-01-01' FROM users AS u (i), LATERAL
        (SELECT string_agg(md5(i || ' ' || part), '') AS noise FROM generate_series(1, {parts}) AS part) AS long;
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT 1 + i % 40, 1 + i * 7 % 40, 'view', '2026-02-01'::timestamptz + i * interval '10 seconds'
        FROM generate_series(1, 400) AS i
"""
A_LIKE = "UPDATE interactions SET kind = 'like' WHERE created_at = (SELECT max(created_at) FROM interactions"
FLOOD = f"""
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT 1, 1, 'view', '2010-01-01'::timestamptz + day * interval '1 day'
        FROM generate_series(1, {MOST_CELLS + 400}) AS day
"""


def night_after(
    dsn: str, connections: tuple[list[Connection], Connection], store: MemoryObjectStore, sql: str
) -> Night:
    """What is kept after that change of the built-in schema, once the tensors are seen to be true."""
    (writer, *_), onlooker = connections
    with writer, writer.cursor() as cursor:
        cursor.execute(sql)
    found = read_graph(dsn, store, BUILT_IN.mapping, WHOLE_LIMITS)
    assert differences(found.tensors, true_tensors(onlooker, BUILT_IN)) == []
    night = load_night(store, found.fingerprint)
    assert night is not None
    return night


def test_deltas_pile_up_until_they_are_folded_into_a_new_base(postgres_dsn: str, settle: Settle) -> None:
    connections, store = settle(BUILT_IN), MemoryObjectStore()
    nights = [night_after(postgres_dsn, connections, store, CALM.format(parts=120))]
    for _ in range(MOST_DELTAS + 2):
        nights.append(night_after(postgres_dsn, connections, store, f"{A_LIKE} WHERE kind = 'view')"))
    assert [len(night.deltas) for night in nights] == [*range(MOST_DELTAS + 1), 0, 1]


def test_a_graph_that_comes_back_is_the_night_that_it_was(postgres_dsn: str, settle: Settle) -> None:
    connections, store, fingerprints = settle(BUILT_IN), MemoryObjectStore(), []
    swapped = "UPDATE interactions SET kind = CASE kind WHEN 'view' THEN 'look' ELSE 'view' END WHERE user_id = 7"
    for change in (CALM.format(parts=120), *[swapped] * 5):
        fingerprints.append(night_after(postgres_dsn, connections, store, change).fingerprint)
    assert fingerprints[::2] == fingerprints[:1] * 3
    assert fingerprints[1::2] == fingerprints[1:2] * 3
    assert len(list_nights(store)) == len(set(fingerprints)) == 2


def test_a_flood_of_rows_makes_the_cells_coarser_and_nothing_else(postgres_dsn: str, settle: Settle) -> None:
    connections, store, digests = settle(BUILT_IN), MemoryObjectStore(), []
    for change in (CALM.format(parts=1), FLOOD, f"{A_LIKE})", f"{A_LIKE} WHERE created_at < '2015-01-01')", FLOOD):
        night = night_after(postgres_dsn, connections, store, change)
        digests.append(load_digests(store, night)["interactions"])
    assert digests[1].partition.width > digests[0].partition.width
    assert all(len(digest.cells) <= MOST_CELLS for digest in digests)


BALANCED = (  # in every transaction, each pair of user and post keeps as many interactions of one kind as of the other
    "INSERT INTO interactions (user_id, post_id, kind, created_at) SELECT {user}, {post}, kind,"
    " '2026-03-01'::timestamptz + {days} * random() * interval '1 day' FROM (VALUES ('buy'), ('sell')) AS kinds (kind)",
    "DELETE FROM interactions WHERE user_id = {user} AND post_id = {post}",
    "UPDATE interactions SET created_at = created_at - interval '{days} days' WHERE user_id = {user} AND kind = 'buy'",
    "UPDATE interactions SET kind = CASE kind WHEN 'buy' THEN 'sell' ELSE 'buy' END WHERE post_id = {post}",
    "UPDATE interactions SET post_id = {post} WHERE user_id = {user}",
    "DELETE FROM users WHERE user_id = {user}; INSERT INTO users (user_id) VALUES ({user})",
    "DELETE FROM posts WHERE post_id = {post}; INSERT INTO posts (post_id) VALUES ({post})",
)


def write_balanced(dsn: str, seed: int, stop: threading.Event) -> int:
    """Transactions until the stop; how many were committed."""
    choose, committed = np.random.default_rng(seed), 0
    with closing(psycopg2.connect(dsn, options=OPTIONS)) as connection:
        while not stop.is_set():
            sql = BALANCED[int(choose.choice(len(BALANCED), p=[0.7, *[0.05] * 6]))]
            user, post, days = (int(number) for number in choose.integers(1, 101, 3))
            with (
                suppress(psycopg2.OperationalError, psycopg2.IntegrityError),
                connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(sql.format(user=user, post=post, days=days))
                committed += 1
    return committed


def is_balanced(tensors: GraphTensors) -> bool:
    rows = tensors.interactions
    pairs = pair_key(rows.user, rows.post, tensors.num_posts)
    return all(
        np.array_equal(np.sort(pairs[rows.kind == 0]), np.sort(pairs[rows.kind == kind]))
        for kind in range(len(tensors.kinds))
    )


def test_a_night_among_writers_sees_one_moment(postgres_dsn: str, settle: Settle) -> None:
    (writer, *_), onlooker = settle(BUILT_IN)
    with writer, writer.cursor() as cursor:
        cursor.execute(CALM.format(parts=20))
        cursor.execute("DELETE FROM interactions")
        for user in range(1, 101):
            cursor.execute(BALANCED[0].format(user=user, post=101 - user, days=user))
    store, stop = MemoryObjectStore(), threading.Event()
    fingerprints = set()
    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(write_balanced, postgres_dsn, seed, stop) for seed in range(2)]
        try:
            for night in range(24):
                tonight = store if night % 3 else MemoryObjectStore()
                found = read_graph(postgres_dsn, tonight, BUILT_IN.mapping, SessionLimits(2, night % 2))
                assert is_balanced(found.tensors), night
                assert dangling(found.tensors) == [], night
                fingerprints.add(found.fingerprint)
        finally:
            stop.set()
    print(f"{len(fingerprints)} graphs in 24 nights among {sum(w.result() for w in writing)} transactions")
    assert len(fingerprints) > 20
    last = read_graph(postgres_dsn, store, BUILT_IN.mapping, WHOLE_LIMITS)
    assert differences(last.tensors, true_tensors(onlooker, BUILT_IN)) == []
