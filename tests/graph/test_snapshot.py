"""Reading the app's Postgres: what comes out is what stands in the tables, at one moment, whatever the rows hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import psycopg2
import pytest

from waypost.errors import EmptyGraph, PostgresUnavailable, SchemaError
from waypost.graph.building import to_tensors
from waypost.graph.postgres import open_snapshot
from waypost.graph.schema import check_schema
from waypost.graph.snapshot import Snapshot, read_fingerprint, read_snapshot
from waypost.graph.store import from_bytes, to_bytes
from waypost.graph.tensors import NO_AUTHOR, NO_TIME, Csr, GraphTensors

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


@pytest.fixture
def execute(postgres_dsn: str) -> Iterator[Callable[[str], None]]:
    with closing(psycopg2.connect(postgres_dsn)) as connection:
        connection.autocommit = True

        def run(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql)

        yield run


def read(dsn: str) -> Snapshot:
    with open_snapshot(dsn, 30) as snapshot:
        check_schema(snapshot)
        return read_snapshot(snapshot)


def fingerprint(dsn: str) -> str:
    with open_snapshot(dsn, 30) as snapshot:
        return read_fingerprint(snapshot)


def tensors_of(dsn: str) -> GraphTensors:
    def lengths(texts: object) -> Csr:
        sizes = [len(text) for text in texts]  # type: ignore[attr-defined]
        return Csr(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64), np.zeros(sum(sizes), np.int32))

    return to_tensors(read(dsn), lengths)[0]


def test_every_value_arrives_extreme_ids_nulls_and_emoji_included(
    execute: Callable[[str], None], postgres_reader_dsn: str
) -> None:
    execute(GRAPH)
    graph = tensors_of(postgres_reader_dsn)
    assert graph.user_ids.tolist() == [LOWEST, 7, HIGHEST]
    assert graph.post_ids.tolist() == [-5, 3, HIGHEST]
    assert graph.tag_names == ("a", "b")
    assert graph.kinds == ("it's", "like", "view")
    assert graph.post_author.tolist() == [1, NO_AUTHOR, NO_AUTHOR]
    assert graph.post_created_at.tolist() == [1709208000500000, NO_TIME, NO_TIME]
    assert [graph.post_tags.row(post).tolist() for post in range(3)] == [[], [0, 1], []]
    assert np.diff(graph.post_tokens.indptr).tolist() == [len("Snow 🏔"), len("\nx"), 0]
    rows = graph.interactions
    assert list(zip(rows.user.tolist(), rows.post.tolist(), rows.kind.tolist(), strict=True)) == [
        (1, 1, 0), (1, 1, 1), (1, 1, 1), (2, 0, 2),
    ]  # fmt: skip
    assert rows.created_at.tolist() == [NO_TIME, NO_TIME, NO_TIME, -315619200000000]


def test_tensors_survive_their_file_byte_for_byte(execute: Callable[[str], None], postgres_dsn: str) -> None:
    execute(GRAPH)
    graph = tensors_of(postgres_dsn)
    assert to_bytes(from_bytes(to_bytes(graph))) == to_bytes(graph)


def test_the_fingerprint_names_the_content_and_not_the_order(execute: Callable[[str], None], postgres_dsn: str) -> None:
    execute(GRAPH)
    before = fingerprint(postgres_dsn)
    execute("CREATE TABLE moved AS SELECT * FROM interactions ORDER BY kind DESC")
    execute("TRUNCATE interactions; INSERT INTO interactions SELECT * FROM moved")
    assert fingerprint(postgres_dsn) == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE interactions SET created_at = '1960-01-01 00:00:00.000001+00' WHERE kind = 'view'",
        "UPDATE interactions SET kind = 'liked' WHERE kind = 'like'",
        "DELETE FROM interactions WHERE ctid = (SELECT min(ctid) FROM interactions WHERE kind = 'like')",
        "UPDATE posts SET body = NULL WHERE post_id = 3",
        "UPDATE posts SET author_id = NULL WHERE post_id = -5",
        "UPDATE tags SET name = 'c' WHERE tag_id = 1",
        "DELETE FROM post_tags WHERE tag_id = 1",
        "INSERT INTO users (user_id) VALUES (8)",
    ],
)
def test_any_change_that_the_night_can_see_changes_the_fingerprint(
    execute: Callable[[str], None], postgres_dsn: str, change: str
) -> None:
    execute(GRAPH)
    before = fingerprint(postgres_dsn)
    execute(change)
    assert fingerprint(postgres_dsn) != before


def test_a_snapshot_does_not_see_what_is_written_while_it_is_read(
    execute: Callable[[str], None], postgres_dsn: str
) -> None:
    execute(GRAPH)
    with open_snapshot(postgres_dsn, 30) as snapshot:
        before = read_fingerprint(snapshot)
        execute("DELETE FROM interactions; INSERT INTO users (user_id) VALUES (99)")
        assert read_fingerprint(snapshot) == before
        assert len(read_snapshot(snapshot).interaction_user_ids) == 4


def test_an_empty_database_is_one_clear_error(postgres_dsn: str) -> None:
    with pytest.raises(EmptyGraph, match="0 users, 0 posts, 0 interactions; run `waypost load DIR`"):
        read(postgres_dsn)


def test_everything_wrong_with_the_schema_is_told_in_one_line(
    execute: Callable[[str], None], postgres_dsn: str
) -> None:
    execute("DROP TABLE post_tags; ALTER TABLE posts ALTER post_id TYPE numeric; ALTER TABLE interactions DROP kind")
    with pytest.raises(SchemaError) as told:
        read(postgres_dsn)
    assert "table post_tags is missing" in str(told.value)
    assert "column posts.post_id is numeric, not int2 or int4 or int8" in str(told.value)
    assert "column interactions.kind is missing" in str(told.value)


def test_a_role_that_may_not_read_is_one_clear_error(
    execute: Callable[[str], None], postgres_dsn: str, postgres_reader_dsn: str
) -> None:
    execute(GRAPH)
    execute("REVOKE ALL ON interactions FROM waypost_reader")
    with pytest.raises(SchemaError, match="grant the night's role SELECT"):
        read(postgres_reader_dsn)


def test_a_postgres_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(PostgresUnavailable, match="check WAYPOST_POSTGRES_DSN"):
        read("postgresql://nobody@127.0.0.1:9/nothing")


def test_rows_that_point_nowhere_are_dropped_and_counted(execute: Callable[[str], None], postgres_dsn: str) -> None:
    """Only a schema without foreign keys, an app's own, can hold them."""
    execute(GRAPH)
    execute("ALTER TABLE interactions DROP CONSTRAINT interactions_post_id_fkey")
    execute("INSERT INTO interactions (user_id, post_id, kind) VALUES (7, 404, 'view')")
    graph, dropped = to_tensors(
        read(postgres_dsn), lambda texts: Csr(np.zeros(len(texts) + 1, np.int64), np.zeros(0, np.int32))
    )
    assert (dropped.interactions, dropped.post_tags, dropped.authors) == (1, 0, 0)
    assert len(graph.interactions) == 4
