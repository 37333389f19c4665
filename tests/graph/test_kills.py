"""Postgres fails in the middle of a night: backends killed at random moments, a server that falls silent, a table that
a migration holds. No tensor that is wrong is ever kept; the night ends with the right one or says in one line why not.

`make test-faults` kills fifty times on a larger graph, and waits for servers that say nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812

from tests.graph.histories import BUILT_IN
from tests.graph.truth import differences, expected, read_rows
from waypost.errors import PostgresUnavailable
from waypost.graph.facts import GraphRead
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import LOCK_TIMEOUT_SECONDS, SILENCE_SECONDS, SessionLimits, open_snapshot
from waypost.graph.reading import read_graph
from waypost.graph.schema import check_schema
from waypost.graph.store import list_nights, load_tensors
from waypost.graph.tensors import GraphTensors
from waypost.objects.memory import MemoryObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.reading import read_patiently

LIMITS = SessionLimits(connections=2, server_workers=1, statement_timeout_seconds=30)
GRAPH = """
    INSERT INTO users (user_id) SELECT i FROM generate_series(1, 3000) AS i;
    INSERT INTO posts (post_id, author_id, title, created_at)
        SELECT i, 1 + i % 3000, repeat('place ' || i % 97, 40), '2026-01-01'::timestamptz + i * interval '1 minute'
        FROM generate_series(1, 5000) AS i;
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT 1 + i * 7919 % 3000, 1 + i * 104729 % 5000, 'view', '2026-02-01'::timestamptz + i * interval '9 seconds'
        FROM generate_series(1::int8, {interactions}) AS i
"""
CHANGES = (
    "UPDATE interactions SET kind = 'like' WHERE created_at > '2026-02-04' AND user_id % 97 = {number} % 97",
    "DELETE FROM interactions WHERE post_id % 1009 = {number} % 1009",
    "UPDATE posts SET title = 'number {number}' WHERE post_id % 501 = {number} % 501",
)
THEIR_BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'waypost trainer' AND datname = current_database()"
)


@pytest.fixture
def owner(postgres_dsn: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(postgres_dsn)) as connection:
        connection.autocommit = True
        yield connection


def execute(connection: Connection, sql: str) -> list[tuple[int, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@dataclass
class Killer:
    """Ends one backend of the night, chosen at random, after that many seconds; `killed` says whether there was one."""

    dsn: str
    after_seconds: float
    choose: np.random.Generator
    killed: bool = False

    def __enter__(self) -> Killer:
        self._night_is_over = threading.Event()
        self._thread = threading.Thread(target=self._kill)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._night_is_over.set()
        self._thread.join()

    def _kill(self) -> None:
        with closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            self._night_is_over.wait(self.after_seconds)
            while not self.killed and not self._night_is_over.is_set():
                backends = execute(connection, THEIR_BACKENDS)
                if backends:
                    (victim,) = backends[int(self.choose.integers(len(backends)))]
                    self.killed = bool(execute(connection, f"SELECT pg_terminate_backend({victim})")[0][0])


def quiet_night(dsn: str) -> tuple[GraphTensors, str, float]:
    """The whole graph of now, its fingerprint, and how long reading it took."""
    started = time.monotonic()
    found = read_graph(dsn, MemoryObjectStore(), DEFAULT, LIMITS)
    return found.tensors, found.fingerprint, time.monotonic() - started


def night_or_reason(read: Callable[[], GraphRead]) -> GraphRead | str:
    try:
        return read()
    except PostgresUnavailable as error:
        return str(error)


def assert_everything_kept_is_true(store: MemoryObjectStore, truths: dict[str, GraphTensors]) -> None:
    for fingerprint in list_nights(store):
        kept = load_tensors(store, fingerprint)
        assert kept is not None
        assert differences(kept, truths[fingerprint]) == []


@pytest.mark.parametrize(
    ("kills", "interactions"), [(6, 20_000), pytest.param(50, 200_000, marks=[pytest.mark.faults])]
)
def test_a_night_whose_backend_is_killed_is_right_or_says_why_not_and_keeps_nothing_wrong(
    postgres_dsn: str, owner: Connection, kills: int, interactions: int
) -> None:
    choose, outcomes, told = np.random.default_rng(50), Counter[str](), Counter[str]()
    execute(owner, GRAPH.format(interactions=interactions))
    store, truths, number = MemoryObjectStore(), dict[str, GraphTensors](), 0
    while outcomes["killed"] < kills:
        number += 1
        execute(owner, CHANGES[number % len(CHANGES)].format(number=number))
        truth, fingerprint, seconds = quiet_night(postgres_dsn)
        truths[fingerprint] = truth
        tonight = store if number % 2 else MemoryObjectStore()  # brought up to date, or read whole
        with Killer(postgres_dsn, choose.random() * seconds, choose) as killer:
            found = night_or_reason(lambda: read_graph(postgres_dsn, tonight, DEFAULT, LIMITS))  # noqa: B023
        outcomes["killed"] += killer.killed
        if isinstance(found, str):
            assert killer.killed
            assert found.startswith("Postgres: ")
            assert "\n" not in found
            assert "libpq" not in found
            assert fingerprint not in list_nights(tonight)
            told[found] += 1
        else:
            outcomes["killed and right all the same"] += killer.killed
            assert found.fingerprint == fingerprint
            assert differences(found.tensors, truth) == []
        assert_everything_kept_is_true(tonight, truths) if number % 10 == 0 else None
        again = read_graph(postgres_dsn, tonight, DEFAULT, LIMITS)
        assert differences(again.tensors, truth) == []
    assert_everything_kept_is_true(store, truths)
    with owner.cursor() as cursor:
        assert differences(truth, expected(read_rows(cursor, BUILT_IN.truth), DEFAULT)) == []
    print(f"{number} nights: {dict(outcomes)}; {told.total()} said why not: {dict(told)}")
    assert told.total() > 0


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=[pytest.mark.faults])])
def test_a_patient_night_survives_a_kill(
    postgres_dsn: str, owner: Connection, kills: int, caplog: pytest.LogCaptureFixture
) -> None:
    choose, settings = np.random.default_rng(51), TrainerSettings(statement_timeout_seconds=30)
    execute(owner, GRAPH.format(interactions=20_000))
    truth, _, seconds = quiet_night(postgres_dsn)
    while sum(record.name == "waypost.trainer.reading" for record in caplog.records) < kills:  # tries that failed
        with Killer(postgres_dsn, choose.random() * seconds / 2, choose):
            found = read_patiently(postgres_dsn, MemoryObjectStore(), DEFAULT, settings)
        assert differences(found.tensors, truth) == []


@pytest.mark.faults
def test_a_table_that_a_migration_holds_ends_the_try_and_says_so(postgres_dsn: str, owner: Connection) -> None:
    execute(owner, GRAPH.format(interactions=100))
    store, started = MemoryObjectStore(), time.monotonic()
    with closing(psycopg2.connect(postgres_dsn)) as migration:
        execute(migration, "LOCK TABLE interactions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(PostgresUnavailable, match="lock timeout"):
            read_graph(postgres_dsn, store, DEFAULT, LIMITS)
    assert time.monotonic() - started < LOCK_TIMEOUT_SECONDS + 10
    assert list(store.list("")) == []
    assert len(read_graph(postgres_dsn, store, DEFAULT, LIMITS).tensors.interactions) == 100


@pytest.fixture
def silence(owner: Connection) -> Iterator[Callable[[], int]]:
    """Stop every backend of the night, as a server does that swaps itself to death; they end after the test."""
    stopped: list[int] = []

    def stop() -> int:
        found = [pid for (pid,) in execute(owner, THEIR_BACKENDS)]
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        stopped.extend(found)
        return len(found)

    yield stop
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.faults
def test_a_server_that_falls_silent_while_rows_are_read_ends_the_try(
    postgres_dsn: str, silence: Callable[[], int]
) -> None:
    limits, started = SessionLimits(connections=2, statement_timeout_seconds=0.5), time.monotonic()
    with open_snapshot(postgres_dsn, limits) as sessions:
        assert silence() == 2
        with pytest.raises(PostgresUnavailable):
            sessions.run([lambda connection: connection.fetch("SELECT 1")])
    assert SILENCE_SECONDS <= time.monotonic() - started < SILENCE_SECONDS + 10


@pytest.mark.faults
def test_a_server_that_falls_silent_before_rows_are_read_ends_the_try(
    postgres_dsn: str, silence: Callable[[], int]
) -> None:
    limits, started = SessionLimits(connections=1, statement_timeout_seconds=0.5), time.monotonic()
    ended = threading.Event()

    def look() -> None:
        with open_snapshot(postgres_dsn, limits) as sessions:
            silence()
            with pytest.raises(PostgresUnavailable):
                check_schema(sessions.first, DEFAULT)
        ended.set()

    threading.Thread(target=look, daemon=True).start()
    assert ended.wait(5 * SILENCE_SECONDS), "the night waits for a server that says nothing"
    assert time.monotonic() - started < 5 * SILENCE_SECONDS
