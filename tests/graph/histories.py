"""Histories of an app's tables, drawn from a seed: several writers with transactions of their own, and nights between.

A `World` is a schema with its mapping and its truth (truth.py). A `History` is the adversary: its transactions commit
late or never, delete, move rows between cells, set clocks back, truncate and refill. One thread drives all of its
connections, so equal seeds give equal histories; what a lock forbids is rolled back, as it would be in an app."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import execute_values

from tests.graph.truth import Truth, microseconds
from waypost.graph.mapping import DEFAULT, Mapping, parse_mapping

WRITERS = 3  # and one connection that only looks on
OPTIONS = "-c lock_timeout=30ms -c timezone=UTC -c synchronous_commit=off"  # whoever waits here waits for ever
EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
QUIET_SHARE = 0.5
HALF_AGREE = 2**32 + 1  # microseconds between two times to which Postgres gives one 32-bit hash
ODD_TIMES = (
    "infinity", "-infinity", "1999-12-31 23:59:59.999999+00", "2000-01-01 00:00:00+00", "1970-01-01 00:00:00+00",
    "1999-12-31 00:00:00+00", "0044-03-15 12:00:00+00 BC", "4714-11-24 00:00:00+00 BC", "0001-01-01 00:00:00+00",
    "9999-12-31 23:59:59.999999+00", "294246-12-31 00:00:00+00",
    "294276-12-31 23:59:59.999999+00",
)  # fmt: skip
TEXTS = (None, "", "a post about snow", 'it\'s \\ "quoted"', "\U0001f3d4 neige, été", "line\nfeed", "é" * 4_100)
NARROW_IDS, MANY_IDS = tuple(range(1, 41)), tuple(range(1, 361))
WIDE_IDS = (-(2**63), -(2**40), -(2**31) - 1, -(2**31), -1, 0, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**32 + 7, 2**63 - 1)


@dataclass(frozen=True)
class Edges:
    """One table of interactions."""

    table: str
    kinds: Sequence[str | None]  # none: the table says what they are
    deleted: bool = False  # whether rows are only marked


@dataclass(frozen=True)
class World:
    name: str
    schema: str  # SQL that makes its tables
    mapping: Mapping
    truth: Truth
    edges: Sequence[Edges]
    has_orphans: bool  # no foreign keys: edges may name what is not there
    as_user: Callable[[int], Any] = int
    as_post: Callable[[int], Any] = int
    as_tag: Callable[[int], Any] = int

    @property
    def tables(self) -> list[str]:
        return ["users", "posts", "tags", "post_tags", *(edges.table for edges in self.edges)]


KINDS = ("view", "like", "it's", "", None, "Ärger")
_PLAIN = Truth(
    "SELECT user_id FROM users",
    f"SELECT post_id, author_id, {microseconds('created_at')}, title, body FROM posts",
    "SELECT tag_id, name FROM tags",
    "SELECT post_id, tag_id FROM post_tags",
    {"interactions": f"SELECT user_id, post_id, kind, {microseconds('created_at')} FROM interactions"},
)
BUILT_IN = World(
    "the built-in schema",
    (Path(__file__).parents[2] / "deploy/postgres/schema.sql").read_text(),
    DEFAULT,
    _PLAIN,
    [Edges("interactions", KINDS)],
    has_orphans=False,
)
_STAMP = "updated_at timestamptz NOT NULL DEFAULT now()"
LOOSE = World(
    "no foreign keys",
    f"""
    CREATE TABLE users (user_id bigint, {_STAMP});
    CREATE TABLE posts (post_id bigint UNIQUE, author_id bigint, created_at timestamptz, title text, body text,
                        {_STAMP});
    CREATE TABLE tags (tag_id bigint UNIQUE, name text, {_STAMP});
    CREATE TABLE post_tags (post_id bigint, tag_id bigint, {_STAMP});
    CREATE TABLE interactions (user_id bigint, post_id bigint, kind text, created_at timestamptz, {_STAMP});
    """,
    DEFAULT,
    _PLAIN,
    [Edges("interactions", KINDS)],
    has_orphans=True,
)
BARE = World(
    "no times, kinds or authors",
    LOOSE.schema,
    parse_mapping(
        """
        users = { select = "SELECT user_id FROM users" }
        posts = { select = "SELECT post_id, title FROM posts" }
        interactions.acts.select = "SELECT user_id, post_id FROM interactions"
        """
    ),
    Truth(
        "SELECT user_id FROM users",
        "SELECT post_id, NULL, NULL, title, NULL FROM posts",
        "SELECT NULL, NULL FROM tags",
        "SELECT NULL, NULL FROM post_tags",
        {"acts": "SELECT user_id, post_id, NULL, NULL FROM interactions"},
    ),
    [Edges("interactions", KINDS)],
    has_orphans=True,
)
KEYED = World(
    "text and UUID keys, two tables, soft deletes",
    f"""
    CREATE TABLE users (user_id uuid PRIMARY KEY, {_STAMP});
    CREATE TABLE posts (post_id text PRIMARY KEY, author_id uuid, created_at timestamp, title varchar, body text,
                        {_STAMP});
    CREATE TABLE tags (tag_id text PRIMARY KEY, name text, {_STAMP});
    CREATE TABLE post_tags (post_id text, tag_id text, {_STAMP});
    CREATE TABLE visits (user_id uuid, post_id text, kind text, created_at timestamp, deleted_at timestamptz, {_STAMP});
    CREATE TABLE hearts (user_id uuid, post_id text, created_at date, deleted_at timestamptz, {_STAMP});
    """,
    parse_mapping(
        """
        users = { select = "SELECT * FROM users", key = "uuid" }
        posts = { select = "SELECT post_id, author_id, created_at, title, body FROM posts", key = "text" }
        tags = { select = "SELECT tag_id, name FROM tags", key = "text" }
        post_tags = { select = "SELECT post_id, tag_id FROM post_tags" }
        weights = { like = 3 }
        [interactions.visits]
        select = "SELECT user_id, post_id, kind, created_at FROM visits WHERE deleted_at IS NULL"
        [interactions.hearts]
        select = "SELECT user_id, post_id, created_at FROM hearts WHERE deleted_at IS NULL -- soft"
        kind = "like"
        """
    ),
    Truth(
        "SELECT user_id::text FROM users",
        f"SELECT post_id, author_id::text, {microseconds('created_at')}, title, body FROM posts",
        'SELECT hashtextextended(tag_id COLLATE "C", 0), name FROM tags',
        'SELECT post_id, hashtextextended(tag_id COLLATE "C", 0) FROM post_tags',
        {
            "visits": f"SELECT user_id::text, post_id, kind, {microseconds('created_at')} FROM visits"
            " WHERE deleted_at IS NULL",
            "hearts": f"SELECT user_id::text, post_id, 'like', {microseconds('created_at')} FROM hearts"
            " WHERE deleted_at IS NULL",
        },
    ),
    [Edges("visits", ("view", "save", "it's", "", None), deleted=True), Edges("hearts", (), deleted=True)],
    has_orphans=True,
    as_user=lambda number: f"{number % 2**32:08x}-ab00-4000-8000-00000000cafe",
    as_post=lambda number: f"{'éa-_Z'[number % 5]}{number}\U0001f3d6",
    as_tag=lambda number: f"tag {number}",
)
WORLDS = (BUILT_IN, LOOSE, BARE, KEYED)


@dataclass(frozen=True)
class Habits:
    """How the writers behave."""

    stay_open: float = 0.35  # share of the steps after which the transaction goes on, past a night perhaps
    roll_back: float = 0.15
    set_clocks_back: float = 0.2  # share of the steps whose updated_at lies in the past
    forget_the_stamp: float = 0.2  # share of the UPDATEs that leave updated_at as it was


@dataclass
class Turn:
    """One step of one writer."""

    world: World
    choose: np.random.Generator
    cursor: Cursor
    ids: Sequence[int]  # numbers that keys are made from
    now: datetime
    stamp: datetime  # what this step writes to updated_at
    keeps_stamp: bool  # an UPDATE that forgets updated_at

    def execute(self, sql: str, *values: Any) -> None:
        self.cursor.execute(sql, values or None)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        self.cursor.execute(sql)
        return self.cursor.fetchall()

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """`updated_at` is added to every row."""
        stamped = [(*row, self.stamp) for row in rows]
        execute_values(
            self.cursor, f"INSERT INTO {table} ({columns}, updated_at) VALUES %s ON CONFLICT DO NOTHING", stamped
        )

    def update(self, table: str, assignments: str, where: str, *values: Any) -> None:
        stamp = "" if self.keeps_stamp else f", updated_at = '{self.stamp.isoformat()}'"
        self.execute(f"UPDATE {table} SET {assignments}{stamp} WHERE {where}", *values)

    def some(self, table: str, most: int) -> str:
        """A condition that a few rows of the table meet, the same for the same seed."""
        salt, count = int(self.choose.integers(2**31)), int(self.choose.integers(1, most + 1))
        return (
            f"ctid = ANY(ARRAY(SELECT ctid FROM {table} AS t ORDER BY md5(t::text || '{salt}'), t::text, ctid"
            f" LIMIT {count}))"
        )

    def known(self, table: str, column: str) -> list[Any]:
        return [key for (key,) in self.fetch(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1")]

    def one_of(self, values: Sequence[Any]) -> Any:
        return values[int(self.choose.integers(len(values)))]

    def count(self, most: int) -> int:
        return int(self.choose.integers(1, most + 1))

    def edges(self) -> Edges:
        return self.one_of(self.world.edges)  # type: ignore[no-any-return]

    def time(self) -> str | None:
        """Mostly about now; backdated, far ahead, missing or odd."""
        sort = self.choose.random()
        if sort < 0.06:
            return None
        if sort < 0.12:
            return str(self.one_of(ODD_TIMES))
        days = 3 if sort < 0.6 else 700
        ahead = 1 if sort > 0.92 else -1
        offset = timedelta(microseconds=int(self.choose.integers(days * 86_400)) * 1_000_000 * ahead)
        return (self.now + offset).isoformat()

    def user(self, known: Sequence[Any]) -> Any:
        return self._end(known, self.world.as_user)

    def post(self, known: Sequence[Any]) -> Any:
        return self._end(known, self.world.as_post)

    def tag(self, known: Sequence[Any]) -> Any:
        return self._end(known, self.world.as_tag)

    def _end(self, known: Sequence[Any], as_key: Callable[[int], Any]) -> Any:
        """Where nothing forbids it, sometimes one that is not there (yet, or any more), or none at all."""
        if not self.world.has_orphans or self.choose.random() > 0.2:
            return self.one_of(known)
        return None if self.choose.random() < 0.2 else as_key(self.one_of(self.ids))


Step = Callable[[Turn], None]


def users_arrive(turn: Turn) -> None:
    turn.insert("users", "user_id", [(turn.world.as_user(turn.one_of(turn.ids)),) for _ in range(turn.count(4))])


def posts_arrive(turn: Turn) -> None:
    authors = [*turn.known("users", "user_id"), None]
    keys = {turn.world.as_post(turn.one_of(turn.ids)) for _ in range(turn.count(4))}
    turn.insert(
        "posts",
        "post_id, author_id, created_at, title, body",
        [
            (key, turn.user(authors), turn.time(), turn.one_of(TEXTS), turn.one_of(TEXTS))
            for key in sorted(keys, key=str)
        ],
    )


def tags_arrive(turn: Turn) -> None:
    keys = [turn.world.as_tag(turn.one_of(turn.ids)) for _ in range(turn.count(3))]
    turn.insert("tags", "tag_id, name", [(key, f"tag {turn.choose.integers(9)}") for key in keys])


def posts_are_tagged(turn: Turn) -> None:
    posts, tags = turn.known("posts", "post_id"), turn.known("tags", "tag_id")
    if posts and tags:
        turn.insert("post_tags", "post_id, tag_id", [(turn.post(posts), turn.tag(tags)) for _ in range(turn.count(8))])


def people_interact(turn: Turn, most: int = 25) -> None:
    users, posts, edges = turn.known("users", "user_id"), turn.known("posts", "post_id"), turn.edges()
    if not users or not posts:
        return
    rows: list[tuple[Any, ...]] = [(turn.user(users), turn.post(posts), turn.time()) for _ in range(turn.count(most))]
    if edges.kinds:
        turn.insert(
            edges.table, "user_id, post_id, created_at, kind", [(*row, turn.one_of(edges.kinds)) for row in rows]
        )
    else:
        turn.insert(edges.table, "user_id, post_id, created_at", rows)


def interactions_go(turn: Turn) -> None:
    table = turn.edges().table
    turn.execute(f"DELETE FROM {table} WHERE {turn.some(table, 12)}")


def users_go(turn: Turn) -> None:
    turn.execute(f"DELETE FROM users WHERE {turn.some('users', 2)}")


def posts_go(turn: Turn) -> None:
    turn.execute(f"DELETE FROM posts WHERE {turn.some('posts', 2)}")


def tags_go(turn: Turn) -> None:
    turn.execute(f"DELETE FROM tags WHERE {turn.some('tags', 2)}")


def tags_are_taken_off(turn: Turn) -> None:
    turn.execute(f"DELETE FROM post_tags WHERE {turn.some('post_tags', 4)}")


def old_ones_are_purged(turn: Turn) -> None:
    turn.execute(f"DELETE FROM {turn.edges().table} WHERE created_at < %s", turn.time())


def times_move(turn: Turn) -> None:
    table = turn.edges().table
    turn.update(table, "created_at = %s", turn.some(table, 5), turn.time())


def times_move_where_hashes_agree(turn: Turn) -> None:
    table = turn.one_of([turn.edges().table, "posts"])
    where = f"isfinite(created_at) AND created_at BETWEEN '1900-01-01' AND '3000-01-01' AND {turn.some(table, 5)}"
    turn.update(table, f"created_at = created_at + interval '{HALF_AGREE} microseconds'", where)


def kinds_change(turn: Turn) -> None:
    edges = turn.edges()
    if edges.kinds:
        turn.update(edges.table, "kind = %s", turn.some(edges.table, 6), turn.one_of(edges.kinds))


def a_kind_is_renamed_everywhere(turn: Turn) -> None:
    edges = turn.edges()
    if edges.kinds:
        turn.update(edges.table, "kind = %s", "kind = %s", turn.one_of(edges.kinds), turn.one_of(edges.kinds))


def interactions_change_hands(turn: Turn) -> None:
    users, table = turn.known("users", "user_id"), turn.edges().table
    if users:
        turn.update(table, "user_id = %s", turn.some(table, 4), turn.user(users))


def interactions_change_posts(turn: Turn) -> None:
    posts, table = turn.known("posts", "post_id"), turn.edges().table
    if posts:
        turn.update(table, "post_id = %s", turn.some(table, 4), turn.post(posts))


def posts_are_edited(turn: Turn) -> None:
    turn.update("posts", f"{turn.one_of(['title', 'body'])} = %s", turn.some("posts", 3), turn.one_of(TEXTS))


def posts_change_authors(turn: Turn) -> None:
    turn.update("posts", "author_id = %s", turn.some("posts", 3), turn.user([*turn.known("users", "user_id"), None]))


def posts_are_redated(turn: Turn) -> None:
    turn.update("posts", "created_at = %s", turn.some("posts", 3), turn.time())


def tags_are_renamed(turn: Turn) -> None:
    turn.update("tags", "name = %s", turn.some("tags", 2), turn.one_of(["", None, "other", "tag 1"]))


def rows_exchange_values(turn: Turn) -> None:
    edges = turn.edges()
    columns = {
        edges.table: ["created_at", "user_id", "post_id", *(["kind"] if edges.kinds else [])],
        "posts": ["created_at", "author_id", "title", "body"],
        "tags": ["name"],
    }
    table = turn.one_of(sorted(columns))
    exchange(turn, table, turn.one_of(columns[table]))


def exchange(turn: Turn, table: str, column: str) -> None:
    """Two rows, one column: neither a count nor a sum over that column changes."""
    salt = int(turn.choose.integers(2**31))
    two = turn.fetch(f"SELECT ctid::text FROM {table} AS t ORDER BY md5(t::text || '{salt}'), t::text, ctid LIMIT 2")
    if len(two) == 2:
        one, other = (f"(SELECT {column} FROM {table} WHERE ctid = '{ctid}')" for (ctid,) in two)
        turn.update(
            table,
            f"{column} = CASE WHEN ctid = '{two[0][0]}' THEN {other} ELSE {one} END",
            f"ctid IN ('{two[0][0]}', '{two[1][0]}')",
        )


def rows_are_doubled(turn: Turn) -> None:
    table = turn.one_of([turn.edges().table, *(["users"] if turn.world.schema == LOOSE.schema else [])])
    turn.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE {turn.some(table, 6)}")


def doubles_go(turn: Turn) -> None:
    table = turn.edges().table
    turn.execute(
        f"DELETE FROM {table} AS one USING {table} AS other WHERE one.ctid > other.ctid"
        " AND (one.user_id, one.post_id, one.created_at) IS NOT DISTINCT FROM (other.user_id, other.post_id,"
        " other.created_at)"
    )


def marks_change(turn: Turn) -> None:
    """A soft delete, or its revocation."""
    edges = turn.edges()
    if edges.deleted:
        turn.update(edges.table, "deleted_at = %s", turn.some(edges.table, 8), turn.one_of([None, turn.now, turn.now]))


def edges_are_refilled(turn: Turn) -> None:
    """TRUNCATE, then as many rows with the same values in every column, but other neighbours; stamps as they were."""
    table = turn.edges().table
    columns = "user_id, post_id, updated_at, " + ", ".join(
        name for (name,) in turn.fetch(_OTHER_COLUMNS.format(table=table))
    )
    rows = turn.fetch(f"SELECT {_as_text(columns)} FROM {table} ORDER BY {table}::text")
    posts = turn.choose.permutation(len(rows))
    mixed = [(row[0], rows[other][1], *row[2:]) for row, other in zip(rows, posts, strict=True)]
    turn.execute(f"TRUNCATE {table}")
    if mixed:
        execute_values(turn.cursor, f"INSERT INTO {table} ({columns}) VALUES %s", mixed)


def posts_are_refilled(turn: Turn) -> None:
    """Everything that hangs on posts is truncated with them and comes back; only two titles are exchanged."""
    tables = ["posts", "post_tags", *(edges.table for edges in turn.world.edges)]
    for table in tables:
        turn.execute(f"CREATE TEMP TABLE saved_{table} ON COMMIT DROP AS SELECT * FROM {table}")
    turn.execute(f"TRUNCATE {', '.join(tables)}")
    for table in tables:
        turn.execute(f"INSERT INTO {table} SELECT * FROM saved_{table}; DROP TABLE saved_{table}")
    exchange(turn, "posts", "title")


_OTHER_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
    " AND column_name NOT IN ('user_id', 'post_id', 'updated_at') ORDER BY 1"
)


def _as_text(columns: str) -> str:
    """So that every time comes back as it was, infinite ones included."""
    return ", ".join(f"{column}::text" for column in columns.split(", "))


PLAIN = (users_arrive, posts_arrive, tags_arrive, posts_are_tagged, people_interact)
DELETES = (interactions_go, users_go, posts_go, tags_go, tags_are_taken_off, old_ones_are_purged)
MOVES = (
    times_move, times_move_where_hashes_agree, kinds_change, a_kind_is_renamed_everywhere, interactions_change_hands,
    interactions_change_posts, posts_are_edited, posts_change_authors, posts_are_redated, tags_are_renamed,
    rows_exchange_values, marks_change,
)  # fmt: skip
COPIES = (rows_are_doubled, doubles_go)
REFILLS = (edges_are_refilled, posts_are_refilled)
EVERYTHING: tuple[Step, ...] = (*PLAIN, people_interact, people_interact, *DELETES, *MOVES, *COPIES, *REFILLS)


@dataclass
class _Writer:
    connection: Connection
    began: datetime | None = None  # None: no transaction is open


@dataclass
class History:
    """One seed's history. `told` says what happened, for whoever reads a failure."""

    world: World
    connections: Sequence[Connection]
    seed: int
    steps: Sequence[Step] = EVERYTHING
    habits: Habits = Habits()
    quiet: bool | None = None  # None: as the seed says
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._choose = np.random.default_rng([self.seed, len(self.world.name)])
        self._writers = [_Writer(connection) for connection in self.connections]
        self._now = EPOCH
        # Much text and little change between nights: then deltas stay small beside their base and pile up.
        quiet = bool(self._choose.random() < QUIET_SHARE)
        self._quiet = quiet if self.quiet is None else self.quiet
        self._ids = MANY_IDS if self._quiet else WIDE_IDS if self._choose.random() < 0.3 else NARROW_IDS

    def nights(self, count: int) -> Iterator[int]:
        """After each burst of steps, a night's number; transactions are left open meanwhile."""
        self.begin()
        for night in range(count):
            yield night
            for _ in range(int(self._choose.integers(1, 3 if self._quiet else 7))):
                self._step()
            self._end_those_that_lock()
            if self._choose.random() < 0.1:
                self._vacuum()
        yield count
        self.end()

    def begin(self) -> None:
        """Tables as they were before the first night."""
        writer = self._writers[0]
        with writer.connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '10s'; TRUNCATE {', '.join(self.world.tables)}")
            size = 1_000 if self._quiet else int(self._choose.integers(5))
            turn = self._turn(cursor, self._now)
            turn.insert("users", "user_id", [(self.world.as_user(number),) for number in self._ids])
            turn.insert(
                "posts",
                "post_id, created_at, title",
                [(self.world.as_post(n), turn.time(), f"post {n} {self._choose.bytes(size).hex()}") for n in self._ids],
            )
            turn.insert("tags", "tag_id, name", [(self.world.as_tag(n), f"tag {n}") for n in self._ids[:9]])
            posts_are_tagged(turn)
            for _ in range(int(self._choose.integers(1, 5))):
                people_interact(turn, most=120)
        writer.connection.commit()

    def end(self) -> None:
        for writer in self._writers:
            writer.connection.rollback()
            writer.began = None

    def _step(self) -> None:
        writer = self._writers[int(self._choose.integers(len(self._writers)))]
        step = self.steps[int(self._choose.integers(len(self.steps)))]
        self._now += timedelta(minutes=int(self._choose.integers(1, 600)))
        writer.began = writer.began or self._now
        fate = self._choose.random()
        try:
            with writer.connection.cursor() as cursor:
                step(self._turn(cursor, writer.began))
        except (psycopg2.OperationalError, psycopg2.IntegrityError) as error:  # a lock, a foreign key
            self._end(writer, writer.connection.rollback, step, (str(error).splitlines() or ["?"])[0])
            return
        if fate < self.habits.roll_back:
            self._end(writer, writer.connection.rollback, step, "rolled back")
        elif fate < self.habits.roll_back + self.habits.stay_open:
            self._tell(writer, step, "stays open")
        else:
            self._end(writer, writer.connection.commit, step, "committed")

    def _end(self, writer: _Writer, how: Callable[[], None], step: Step, outcome: str) -> None:
        how()
        writer.began = None
        self._tell(writer, step, outcome)

    def _turn(self, cursor: Cursor, began: datetime) -> Turn:
        set_back = self._choose.random() < self.habits.set_clocks_back
        stamp = began - timedelta(days=30) if set_back else began
        forgets = bool(self._choose.random() < self.habits.forget_the_stamp)
        return Turn(self.world, self._choose, cursor, self._ids, self._now, stamp, forgets)

    def _end_those_that_lock(self) -> None:
        """A night would wait for whoever has truncated a table."""
        for writer in self._writers:
            if writer.began is not None and _holds_a_table(writer.connection):
                writer.connection.commit()
                writer.began = None

    def _vacuum(self) -> None:
        """Rows move to where others were; nothing of it can be seen."""
        connection = self._writers[0].connection
        if self._writers[0].began is None:
            connection.rollback()
            connection.autocommit = True
            with connection.cursor() as cursor, suppress(psycopg2.errors.LockNotAvailable):
                cursor.execute(f"VACUUM {', '.join(self.world.tables)}")
            connection.autocommit = False
            self.told.append("vacuum")

    def _tell(self, writer: _Writer, step: Step, outcome: str) -> None:
        self.told.append(f"writer {self._writers.index(writer)}: {step.__name__}: {outcome}")


def _holds_a_table(connection: Connection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock'"
            " AND locktype = 'relation'"
        )
        return bool(cursor.fetchall()[0][0])


@contextmanager
def writers(dsn: str, world: World) -> Iterator[list[Connection]]:
    """Connections of a history's writers, to a database that has the world's schema then."""
    with ExitStack() as opened:
        connections = [
            opened.enter_context(closing(psycopg2.connect(dsn, options=OPTIONS))) for _ in range(WRITERS + 1)
        ]
        with connections[0].cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {', '.join(world.tables)}, interactions CASCADE")
            cursor.execute(world.schema)
        connections[0].commit()
        yield connections
