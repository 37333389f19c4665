"""A day in the app: 1 % of the interactions change, all in the last days; some posts are edited and some are new."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import psycopg2

RECENT = "8 days"  # 4 % of the rows of a growing world of a year
DELETED_SHARE, UPDATED_SHARE, INSERTED_SHARE = 0.0025, 0.0025, 0.005  # 5,000 + 5,000 + 10,000 of 2 M
POSTS_PER_INTERACTION = 1 / 20_000  # edited, and as many added

STATEMENTS = (
    "SELECT setseed(%(seed)s)",
    """DELETE FROM interactions WHERE ctid IN (SELECT ctid FROM interactions
       WHERE created_at > %(last)s::timestamptz - %(recent)s::interval ORDER BY random() LIMIT %(deleted)s)""",
    """UPDATE interactions SET kind = CASE kind WHEN 'save' THEN 'view' ELSE 'save' END
       WHERE ctid IN (SELECT ctid FROM interactions
       WHERE created_at > %(last)s::timestamptz - %(recent)s::interval ORDER BY random() LIMIT %(updated)s)""",
    """INSERT INTO interactions (user_id, post_id, kind, created_at)
       SELECT user_id, post_id, 'view', %(last)s::timestamptz - random() * %(recent)s::interval
       FROM (SELECT user_id, row_number() OVER () AS n FROM (SELECT user_id FROM users, generate_series(1, 50)
             ORDER BY random() LIMIT %(inserted)s) AS some_users) AS u
       JOIN (SELECT post_id, row_number() OVER () AS n FROM (SELECT post_id FROM posts, generate_series(1, 50)
             ORDER BY random() LIMIT %(inserted)s) AS some_posts) AS p USING (n)""",
    """UPDATE posts SET title = title || ' (edited)' WHERE post_id IN (SELECT post_id FROM posts
       WHERE created_at > %(last)s::timestamptz - %(recent)s::interval ORDER BY random() LIMIT %(posts)s)""",
    """INSERT INTO posts (post_id, author_id, created_at, title, body)
       SELECT (SELECT max(post_id) FROM posts) + row_number() OVER (), author_id, %(last)s::timestamptz,
              title || ' (again)', body
       FROM (SELECT * FROM posts ORDER BY random() LIMIT %(posts)s) AS some_posts""",
)


@dataclass(frozen=True)
class Change:
    """Rows that one day changed."""

    deleted: int
    updated: int
    inserted: int
    posts: int


def change(owner_dsn: str, last: str, interactions: int, seed: int) -> Change:
    """One day's changes, committed; `last` is the world's last moment."""
    wanted = Change(
        deleted=round(interactions * DELETED_SHARE),
        updated=round(interactions * UPDATED_SHARE),
        inserted=round(interactions * INSERTED_SHARE),
        posts=max(1, round(interactions * POSTS_PER_INTERACTION)),
    )
    facts = {**vars(wanted), "last": last, "recent": RECENT, "seed": seed / 1_000}
    with closing(psycopg2.connect(owner_dsn)) as connection, connection, connection.cursor() as cursor:
        counts = []
        for statement in STATEMENTS:
            cursor.execute(statement, facts)
            counts.append(cursor.rowcount)
    found = Change(*counts[1:5])
    if found != wanted:
        raise RuntimeError(f"the day should change {wanted}, it changed {found}")
    return found


def read_last(owner_dsn: str) -> str:
    with closing(psycopg2.connect(owner_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(created_at)::text FROM interactions")
        row = cursor.fetchone()
    assert row is not None
    return str(row[0])
