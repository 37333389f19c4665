"""Several connections, one moment: what a snapshot's sessions promise, on a real Postgres."""

from __future__ import annotations

import time
from contextlib import closing

import psycopg2
import pytest

from waypost.errors import PostgresUnavailable, SchemaError
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import SessionLimits, SnapshotConnection, ValueOutOfRange, open_snapshot
from waypost.graph.schema import check_schema

LIMITS = SessionLimits(connections=3, statement_timeout_seconds=20)


def execute(dsn: str, sql: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


def count_users(connection: SnapshotConnection) -> int:
    return int(connection.fetch("SELECT count(*) FROM users")[0][0])


def test_all_connections_see_the_moment_of_the_first(postgres_dsn: str) -> None:
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        before = sessions.run([count_users] * 6)
        execute(postgres_dsn, "INSERT INTO users (user_id) SELECT i FROM generate_series(1, 50) i")
        assert sessions.run([count_users] * 6) == before == [0] * 6
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        assert sessions.run([count_users] * 6) == [50] * 6


def test_nobody_can_write_through_a_snapshot(postgres_dsn: str) -> None:
    with (
        open_snapshot(postgres_dsn, LIMITS) as sessions,
        pytest.raises(SchemaError, match="read-only transaction"),
    ):
        sessions.run([lambda connection: connection.fetch("DELETE FROM users RETURNING user_id")])


def test_the_first_failure_ends_the_other_tasks(postgres_dsn: str) -> None:
    started = time.monotonic()
    with open_snapshot(postgres_dsn, LIMITS) as sessions, pytest.raises(SchemaError, match="nowhere"):
        sessions.run(
            [
                lambda connection: connection.fetch("SELECT pg_sleep(15)"),
                lambda connection: connection.fetch("SELECT * FROM nowhere"),
            ]
        )
    assert time.monotonic() - started < 10


def test_a_statement_that_takes_too_long_is_worth_another_try(postgres_dsn: str) -> None:
    limits = SessionLimits(connections=1, statement_timeout_seconds=0.2)
    with (
        open_snapshot(postgres_dsn, limits) as sessions,
        pytest.raises(PostgresUnavailable, match="statement timeout"),
    ):
        sessions.first.fetch("SELECT pg_sleep(5)")


def test_every_session_has_its_timeouts(postgres_dsn: str) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        shown = sessions.run([lambda c: [c.fetch(f"SHOW {name}")[0][0] for name in names]] * 3)
    assert shown == [["20s", "10s", "2min"]] * 3


def test_after_a_value_out_of_range_the_snapshot_goes_on(postgres_dsn: str) -> None:
    execute(postgres_dsn, "INSERT INTO users (user_id) VALUES (5000000000)")
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        with pytest.raises(ValueOutOfRange):
            sessions.first.copy_binary("SELECT user_id::int4 FROM users")
        assert len(sessions.first.copy_binary("SELECT user_id FROM users")) > 0
        assert sessions.run([count_users] * 3) == [1] * 3


def test_the_bytes_of_rows_are_counted_and_the_age_grows(postgres_dsn: str) -> None:
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        received = sessions.first.copy_binary("SELECT 1::int8")
        assert sessions.bytes_read == len(received) > 0
        young = sessions.age_seconds()
        assert abs(sessions.taken_at - time.time()) < 60
        assert sessions.age_seconds() > young >= 0


def test_no_tasks_have_no_results(postgres_dsn: str) -> None:
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        assert sessions.run([]) == []
        assert sessions.run([count_users]) == [0]


def test_a_table_that_is_truncated_before_its_first_row_is_read_is_worth_another_try(postgres_dsn: str) -> None:
    execute(postgres_dsn, "INSERT INTO users (user_id) VALUES (1); INSERT INTO posts (post_id) VALUES (1)")
    execute(postgres_dsn, "INSERT INTO interactions (user_id, post_id) VALUES (1, 1)")
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        execute(
            postgres_dsn,
            "CREATE TABLE moved AS SELECT * FROM interactions; TRUNCATE interactions;"
            " INSERT INTO interactions SELECT * FROM moved",
        )
        with pytest.raises(PostgresUnavailable, match="interactions was truncated"):
            check_schema(sessions.first, DEFAULT)
    with open_snapshot(postgres_dsn, LIMITS) as sessions:
        assert len(check_schema(sessions.first, DEFAULT)) == 5
