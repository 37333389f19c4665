"""The day that the bench lives through in Postgres: one hundredth of the rows, all of them recent."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from bench.changes import change, read_last

ROWS = 2_000


@pytest.fixture
def dsn(postgres_dsn: str) -> str:
    """2,000 interactions, one every 25 minutes; 40 users and 40 posts."""
    with closing(psycopg2.connect(postgres_dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO users (user_id) SELECT generate_series(1, 40)")
        cursor.execute(
            "INSERT INTO posts (post_id, created_at, title) SELECT n, '2025-05-31', 'p' FROM generate_series(1, 40) n"
        )
        cursor.execute(
            """INSERT INTO interactions (user_id, post_id, kind, created_at)
            SELECT 1 + n %% 40, 1 + n / 40 %% 40, 'view', '2025-05-31'::timestamptz - n * interval '25 minutes'
            FROM generate_series(0, %s) AS n""",
            (ROWS - 1,),
        )
    return postgres_dsn


def asked(dsn: str, query: str) -> tuple[object, ...]:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone() or ()


OLD_ROWS = (
    "SELECT count(*), sum(user_id * post_id) FROM interactions WHERE created_at <= timestamptz '2025-05-23 00:00+00'"
)


def test_a_day_deletes_updates_and_inserts_one_hundredth_and_leaves_the_past_alone(dsn: str) -> None:
    before = asked(dsn, OLD_ROWS)

    done = change(dsn, read_last(dsn), ROWS, seed=1)

    assert (done.deleted, done.updated, done.inserted, done.posts) == (5, 5, 10, 1)
    assert asked(dsn, OLD_ROWS) == before
    assert asked(dsn, "SELECT count(*) FROM interactions") == (ROWS + 5,)
    assert asked(dsn, "SELECT count(*) FROM interactions WHERE kind = 'save'") == (5,)
    assert asked(dsn, "SELECT count(*) FROM posts WHERE title LIKE '%(edited)'") == (1,)
    assert asked(dsn, "SELECT count(*) FROM posts WHERE title LIKE '%(again)'") == (1,)
