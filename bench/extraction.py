"""Reading the interactions out of Postgres: binary COPY parsed by numpy, against fetchall."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from waypost.graph.loading import load_directory
from waypost.graph.postgres import open_snapshot
from waypost.graph.snapshot import read_fingerprint, read_snapshot
from waypost.local.stack import down, up
from waypost.local.world import write_world
from waypost.settings import LocalSettings, read_settings, read_shared

INTERACTIONS = 500_000
Measure = tuple[str, Callable[[], object], str, Callable[[], object]]


@contextmanager
def prepared() -> Iterator[list[Measure]]:
    with tempfile.TemporaryDirectory() as folder:
        local_dir = Path(folder) / "stack"
        stack = up(local_dir, read_settings(LocalSettings, {}), read_shared({}), ["postgres"])
        try:
            write_world(Path(folder) / "world", INTERACTIONS, seed=1)
            load_directory(stack.postgres_dsn, Path(folder) / "world")
            dsn = stack.postgres_reader_dsn
            yield [
                (
                    "snapshot of every table",
                    lambda: snapshot(dsn),
                    "fetchall of the interactions alone",
                    lambda: fetch(dsn),
                ),
                ("fingerprint", lambda: fingerprint(dsn), "snapshot of every table", lambda: snapshot(dsn)),
            ]
        finally:
            down(local_dir)


def snapshot(dsn: str) -> object:
    with open_snapshot(dsn, 60) as connection:
        return read_snapshot(connection)


def fingerprint(dsn: str) -> object:
    with open_snapshot(dsn, 60) as connection:
        return read_fingerprint(connection)


def fetch(dsn: str) -> object:
    connection = psycopg2.connect(dsn, connect_timeout=5)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT user_id, post_id, kind, created_at FROM interactions")
            return cursor.fetchall()
    finally:
        connection.close()
