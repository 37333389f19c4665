"""Reading the app's Postgres: what comes out is what stands in the tables, at one moment, whatever the rows hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import pytest

from tests.graph.truth import bytes_of
from waypost.errors import EmptyGraph, PostgresUnavailable, SchemaError
from waypost.graph import reading
from waypost.graph.facts import GraphRead, SourceFacts
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import SessionLimits, open_snapshot
from waypost.graph.reading import read_graph, read_whole
from waypost.graph.schema import check_schema
from waypost.graph.tensors import NO_AUTHOR, NO_TIME
from waypost.objects.memory import MemoryObjectStore

Execute = Callable[[str], None]

LIMITS = SessionLimits(connections=2, statement_timeout_seconds=30)
LOWEST, HIGHEST = -(2**63), 2**63 - 1
GRAPH = f"""
    INSERT INTO users (user_id) VALUES (7), ({LOWEST}), ({HIGHEST});
    INSERT INTO posts (post_id, author_id, created_at, title, body) VALUES
        (-5, 7, '2024-02-29 12:00:00.5+00', 'Snow 🏔', NULL),
        ({HIGHEST}, NULL, NULL, NULL, NULL),
        (3, NULL, 'infinity', '', 'x');
    INSERT INTO tags (tag_id, name) VALUES (2, 'b'), (1, 'a');
    INSERT INTO post_tags (post_id, tag_id) VALUES (3, 2), (3, 1);
    INSERT INTO interactions (user_id, post_id, kind, created_at) VALUES
        ({HIGHEST}, -5, 'view', '1960-01-01 00:00:00+00'),
        (7, 3, 'like', NULL), (7, 3, 'it''s', NULL), (7, 3, 'like', NULL)
"""
WITHOUT_KEYS = """
    ALTER TABLE interactions DROP CONSTRAINT interactions_user_id_fkey, DROP CONSTRAINT interactions_post_id_fkey,
        ALTER user_id DROP NOT NULL, ALTER post_id DROP NOT NULL
"""


@pytest.fixture
def execute(postgres_dsn: str) -> Iterator[Execute]:
    with closing(psycopg2.connect(postgres_dsn)) as connection:
        connection.autocommit = True

        def run(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql)

        yield run


def read(dsn: str) -> GraphRead:
    """A night without a cache."""
    return read_graph(dsn, MemoryObjectStore(), DEFAULT, LIMITS)


def test_every_value_arrives_extreme_ids_nulls_and_emoji_included(execute: Execute, postgres_reader_dsn: str) -> None:
    execute(GRAPH)
    graph = read(postgres_reader_dsn).tensors
    assert graph.user_ids.tolist() == [LOWEST, 7, HIGHEST]
    assert graph.post_ids.tolist() == [-5, 3, HIGHEST]
    assert graph.tag_names == ("a", "b")
    assert graph.kinds == ("it's", "like", "view")
    assert graph.post_author.tolist() == [1, NO_AUTHOR, NO_AUTHOR]
    assert graph.post_created_at.tolist() == [1709208000500000, NO_TIME, NO_TIME]
    assert [graph.post_tags.row(post).tolist() for post in range(3)] == [[], [0, 1], []]
    assert list(graph.post_texts) == ["Snow 🏔", "\nx", ""]
    rows = graph.interactions
    assert list(zip(rows.user.tolist(), rows.post.tolist(), rows.kind.tolist(), strict=True)) == [
        (1, 1, 0), (1, 1, 1), (1, 1, 1), (2, 0, 2),
    ]  # fmt: skip
    assert rows.created_at.tolist() == [NO_TIME, NO_TIME, NO_TIME, -315619200000000]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("NULL", NO_TIME),
        ("'infinity'", NO_TIME),
        ("'-infinity'", NO_TIME),
        ("'2000-01-01 00:00:00+00'", 946_684_800_000_000),
        ("'1999-12-31 23:59:59.999999+00'", 946_684_799_999_999),
        ("'1970-01-01 00:00:00+00'", 0),
        ("'1969-12-31 23:59:59.999999+00'", -1),
        ("'0044-03-15 12:00:00+00 BC'", -63_517_780_800_000_000),
        ("'4714-11-24 00:00:00+00 BC'", -210_866_803_200_000_000),
        ("'9999-12-31 23:59:59.999999+00'", 253_402_300_799_999_999),
        ("'294276-12-31 23:59:59.999999+00'", NO_TIME),  # microseconds since 1970 are no int64 any more
    ],
)
def test_a_time_of_any_age_arrives_to_the_microsecond_tonight_and_tomorrow(
    execute: Execute, postgres_dsn: str, written: str, read_as: int
) -> None:
    execute(f"{GRAPH}; UPDATE posts SET created_at = {written}; UPDATE interactions SET created_at = {written}")
    store = MemoryObjectStore()
    for kind in ("like", "other"):
        execute(f"UPDATE interactions SET kind = '{kind}' WHERE user_id = {HIGHEST}")
        graph = read_graph(postgres_dsn, store, DEFAULT, LIMITS).tensors
        assert graph.interactions.created_at.tolist() == [read_as] * 4
        assert graph.post_created_at.tolist() == [read_as] * 3


def test_no_null_is_read_as_zero(execute: Execute, postgres_dsn: str) -> None:
    """Where an app's own schema allows it: such rows are left out, and counted."""
    execute(f"{GRAPH}; {WITHOUT_KEYS}")
    execute("INSERT INTO users (user_id) VALUES (0); INSERT INTO posts (post_id) VALUES (0)")
    execute("INSERT INTO interactions (user_id, post_id, kind) VALUES (NULL, 3, 'view'), (7, NULL, NULL), (7, 0, NULL)")
    found = read(postgres_dsn)
    assert found.sources["interactions"] == SourceFacts(rows=7, null_ids=2, orphans=0)
    assert len(found.tensors.interactions) == 5
    assert found.tensors.kinds == ("", "it's", "like", "view")
    assert NO_AUTHOR in found.tensors.post_author.tolist()
    assert found.tensors.post_author[found.tensors.post_ids == 0].tolist() == [NO_AUTHOR]


@pytest.mark.parametrize("kind", ["it's", '"quoted"', "back\\slash", "%s", "{0}", "🏔", " ", "a" * 3_000])
def test_a_kind_may_have_any_name(execute: Execute, postgres_dsn: str, kind: str) -> None:
    execute(GRAPH)
    with closing(psycopg2.connect(postgres_dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE interactions SET kind = %s WHERE kind = 'like'", (kind,))
    assert sorted(read(postgres_dsn).tensors.kinds) == sorted({kind, "it's", "view"})


def test_the_fingerprint_and_the_tensors_follow_the_content_and_not_the_order(
    execute: Execute, postgres_dsn: str
) -> None:
    execute(GRAPH)
    before = read(postgres_dsn)
    execute("CREATE TABLE moved AS SELECT * FROM interactions ORDER BY kind DESC")
    execute("TRUNCATE interactions; INSERT INTO interactions SELECT * FROM moved")
    after = read(postgres_dsn)
    assert after.fingerprint == before.fingerprint
    assert bytes_of(after.tensors) == bytes_of(before.tensors)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE interactions SET created_at = '1960-01-01 00:00:00.000001+00' WHERE kind = 'view'",
        "UPDATE interactions SET created_at = created_at + interval '4294967297 microseconds' WHERE kind = 'view'",
        "UPDATE interactions SET kind = 'liked' WHERE kind = 'like'",
        "DELETE FROM interactions WHERE ctid = (SELECT min(ctid) FROM interactions WHERE kind = 'like')",
        "UPDATE posts SET body = NULL WHERE post_id = 3",
        "UPDATE posts SET author_id = NULL WHERE post_id = -5",
        f"UPDATE interactions SET user_id = {LOWEST} WHERE kind = 'view'",
        "UPDATE tags SET name = 'c' WHERE tag_id = 1",
        "UPDATE tags SET name = CASE name WHEN 'a' THEN 'b' ELSE 'a' END",
        "DELETE FROM post_tags WHERE tag_id = 1",
        "INSERT INTO users (user_id) VALUES (8)",
    ],
)
def test_any_change_that_the_night_can_see_changes_the_fingerprint_and_the_tensors(
    execute: Execute, postgres_dsn: str, change: str
) -> None:
    execute(GRAPH)
    before = read(postgres_dsn)
    execute(change)
    after = read(postgres_dsn)
    assert after.fingerprint != before.fingerprint
    assert bytes_of(after.tensors) != bytes_of(before.tensors)


def test_a_change_that_the_night_cannot_see_changes_nothing(execute: Execute, postgres_dsn: str) -> None:
    execute(GRAPH)
    before = read(postgres_dsn).fingerprint
    execute("UPDATE users SET created_at = NULL; UPDATE interactions SET updated_at = 'infinity'")
    assert read(postgres_dsn).fingerprint == before


def test_a_snapshot_does_not_see_what_is_written_while_it_is_read(execute: Execute, postgres_dsn: str) -> None:
    execute(GRAPH)
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        wires = check_schema(sessions.first, DEFAULT)
        execute("DELETE FROM interactions; INSERT INTO users (user_id) VALUES (99)")
        rows = {name: change.rows.count for name, change in read_whole(sessions, wires).items()}
    assert rows == {"users": 3, "posts": 3, "tags": 2, "post_tags": 2, "interactions": 4}


def test_an_empty_database_is_one_clear_error(postgres_dsn: str) -> None:
    with pytest.raises(EmptyGraph, match="0 users, 0 posts, 0 interactions; run `waypost load DIR`"):
        read(postgres_dsn)


def test_everything_wrong_with_the_schema_is_told_in_one_line(execute: Execute, postgres_dsn: str) -> None:
    execute("DROP TABLE post_tags; ALTER TABLE posts ALTER post_id TYPE numeric; ALTER TABLE interactions DROP user_id")
    with pytest.raises(SchemaError) as told:
        read(postgres_dsn)
    assert 'relation "post_tags" does not exist' in str(told.value)
    assert "column post_id is numeric, not bigint or smallint or integer" in str(told.value)
    assert 'column "user_id" does not exist' in str(told.value)
    assert "\n" not in str(told.value)


def test_a_role_that_may_not_read_is_one_clear_error(
    execute: Execute, postgres_dsn: str, postgres_reader_dsn: str
) -> None:
    execute(GRAPH)
    execute("REVOKE ALL ON interactions FROM waypost_reader")
    with pytest.raises(SchemaError, match="permission denied for table interactions"):
        read(postgres_reader_dsn)


def test_a_postgres_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(PostgresUnavailable, match="check WAYPOST_POSTGRES_DSN"):
        read("postgresql://nobody@127.0.0.1:9/nothing")


def test_rows_that_point_nowhere_are_left_out_and_counted(execute: Execute, postgres_dsn: str) -> None:
    """Only a schema without foreign keys, an app's own, can hold them."""
    execute(f"{GRAPH}; {WITHOUT_KEYS}; ALTER TABLE posts DROP CONSTRAINT posts_author_id_fkey")
    execute("INSERT INTO interactions (user_id, post_id, kind) VALUES (7, 404, 'view'), (404, 3, 'view')")
    execute("UPDATE posts SET author_id = 404 WHERE post_id = 3")
    found = read(postgres_dsn)
    assert found.sources["interactions"] == SourceFacts(rows=6, null_ids=0, orphans=2)
    assert found.sources["posts"] == SourceFacts(rows=3, null_ids=0, orphans=1)
    assert len(found.tensors.interactions) == 4


@pytest.mark.parametrize("most_grouped_rows", [0, 2, 500_000])
def test_changed_rows_are_the_same_as_arrays_and_one_by_one(
    execute: Execute, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, most_grouped_rows: int
) -> None:
    monkeypatch.setattr(reading, "MOST_GROUPED_ROWS", most_grouped_rows)
    execute(GRAPH)
    execute("INSERT INTO interactions SELECT 7, 3, 'old', '2020-01-01'::timestamptz - n * interval '1 day' "
            "FROM generate_series(1, 40) AS n")  # fmt: skip
    store = MemoryObjectStore()
    read_graph(postgres_dsn, store, DEFAULT, LIMITS)
    execute("INSERT INTO interactions VALUES (7, 3, 'new', '2020-01-01 00:00:01'), (7, -5, NULL, '2020-01-01')")
    again = read_graph(postgres_dsn, store, DEFAULT, LIMITS)
    assert "changes read" in again.costs.seconds
    assert bytes_of(again.tensors) == bytes_of(read(postgres_dsn).tensors)
