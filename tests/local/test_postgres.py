"""What the owner and the reader of the embedded Postgres may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812

TABLES = {
    "users": "user_id, created_at",
    "posts": "post_id, author_id, created_at, title, body",
    "tags": "tag_id, name",
    "post_tags": "post_id, tag_id",
    "interactions": "user_id, post_id, kind, created_at",
}


@pytest.fixture
def owner(postgres_dsn: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(postgres_dsn)) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def reader(postgres_reader_dsn: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(postgres_reader_dsn)) as connection:
        connection.autocommit = True
        yield connection


@pytest.mark.parametrize(("table", "columns"), TABLES.items())
def test_the_reader_reads_the_mapped_columns(reader: Connection, table: str, columns: str) -> None:
    with reader.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table}")
        assert cursor.fetchall() == []


@pytest.mark.parametrize("table", TABLES)
def test_the_reader_reads_no_other_column(reader: Connection, table: str) -> None:
    with reader.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute(f"SELECT updated_at FROM {table}")


@pytest.mark.parametrize(
    "statement", ["INSERT INTO users (user_id) VALUES (1)", "DELETE FROM users", "CREATE TABLE t ()"]
)
def test_the_reader_writes_nothing_even_in_a_writing_transaction(reader: Connection, statement: str) -> None:
    with reader.cursor() as cursor:
        with pytest.raises((psycopg2.errors.ReadOnlySqlTransaction, psycopg2.errors.InsufficientPrivilege)):
            cursor.execute(statement)
        cursor.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(statement)


def test_transactions_of_the_reader_are_read_only(reader: Connection) -> None:
    with reader.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        assert cursor.fetchone() == ("on",)


def test_a_wrong_password_is_refused(postgres_dsn: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres_dsn, password="guess")


def test_a_deleted_user_takes_interactions_along_and_leaves_the_posts(owner: Connection) -> None:
    with owner.cursor() as cursor:
        cursor.execute("INSERT INTO users (user_id) VALUES (1), (2)")
        cursor.execute("INSERT INTO posts (post_id, author_id) VALUES (10, 1)")
        cursor.execute("INSERT INTO interactions (user_id, post_id, kind) VALUES (1, 10, 'like'), (2, 10, 'like')")
        cursor.execute("DELETE FROM users WHERE user_id = 1")
        cursor.execute("SELECT user_id FROM interactions")
        assert cursor.fetchall() == [(2,)]
        cursor.execute("SELECT post_id, author_id FROM posts")
        assert cursor.fetchall() == [(10, None)]


def test_the_same_deed_may_be_done_twice(owner: Connection) -> None:
    with owner.cursor() as cursor:
        cursor.execute("INSERT INTO users (user_id) VALUES (1)")
        cursor.execute("INSERT INTO posts (post_id) VALUES (10)")
        for _ in range(2):
            cursor.execute("INSERT INTO interactions (user_id, post_id, kind, created_at) VALUES (1, 10, 'view', NULL)")
        cursor.execute("SELECT count(*) FROM interactions")
        assert cursor.fetchone() == (2,)


def test_what_is_committed_is_on_disk(owner: Connection) -> None:
    with owner.cursor() as cursor:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == ("on",), name
