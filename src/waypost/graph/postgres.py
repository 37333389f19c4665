"""A consistent view of the app's Postgres: one exported REPEATABLE READ READ ONLY snapshot for several connections.

The first connection exports its snapshot and the others adopt it, so whatever they read in parallel is one moment. A
snapshot dies with the connection that exported it. psycopg2's exceptions end here. This module knows SQL text and rows
of bytes, not what the columns mean."""

from __future__ import annotations

import io
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions

from waypost.errors import PostgresUnavailable, SchemaError, SettingsError, WaypostError

CONNECT_TIMEOUT_SECONDS = 5
LOCK_TIMEOUT_SECONDS = 10  # a migration that holds a table longer ends this try, not the night
IDLE_STATEMENTS = 6  # a connection may wait for so many of the longest statements of another, and for their parsing
SILENCE_SECONDS = 15.0  # past the statement timeout, for a server that is too far gone to keep it
WATCH_SECONDS = 0.25  # between two looks at the clock
# libpq notices a dead server within about 40 s even when no packet comes back.
_LIBPQ: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "application_name": "waypost trainer",
    "client_encoding": "UTF8",  # whatever the database's own is
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 40_000,  # milliseconds
}
Result = TypeVar("Result")


@dataclass(frozen=True)
class SessionLimits:
    """How hard the night may lean on the app's database."""

    connections: int = 2
    server_workers: int = 1  # parallel workers of the server for one query of ours, besides the backend itself
    statement_timeout_seconds: float = 600


class Watchdog:
    """Cuts a connection whose statement takes longer than the server should let it.

    A server process that was stopped keeps no timeout, and its kernel goes on answering keepalives. One thread for all
    connections: a timer for each statement costs as much as the statement.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadlines: dict[psycopg2.extensions.connection, float] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="postgres watchdog", daemon=True).start()

    @contextmanager
    def watching(self, connection: psycopg2.extensions.connection) -> Iterator[None]:
        self._deadlines[connection] = time.monotonic() + self._seconds
        try:
            yield
        finally:
            del self._deadlines[connection]

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_SECONDS):
            now = time.monotonic()
            for connection, deadline in list(self._deadlines.items()):
                if now > deadline:
                    _cut(connection)


class ValueOutOfRange(SchemaError):
    """A value does not fit the type that a query casts it to."""


class SnapshotConnection:
    """One connection's view of the snapshot."""

    def __init__(self, connection: psycopg2.extensions.connection, watchdog: Watchdog) -> None:
        self._connection, self._watchdog = connection, watchdog
        self.server_version: int = connection.server_version
        self.bytes_read = 0  # of rows, over the wire

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small query."""
        with self._statement() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def describe(self, select: str) -> dict[str, int]:
        """The columns that a SELECT would give, name -> type OID. Raises SchemaError when it is no SELECT."""
        with self._statement() as cursor:
            cursor.execute("SAVEPOINT described")
            try:
                cursor.execute(f"SELECT * FROM ({select}\n) AS app LIMIT 0")
                return {column.name: column.type_code for column in cursor.description or ()}
            except psycopg2.Error:
                cursor.execute("ROLLBACK TO SAVEPOINT described")
                raise

    def copy_binary(self, select: str, workers: int = 0) -> memoryview:
        """The rows of `select`, in no particular order, in Postgres' binary COPY format, header and trailer included.

        Raises ValueOutOfRange, after which the connection may be used again, as after no other error.
        """
        buffer = io.BytesIO()
        with self._statement() as cursor:
            cursor.execute(f"SET LOCAL max_parallel_workers_per_gather = {int(workers)}; SAVEPOINT copied")
            try:
                cursor.copy_expert(f"COPY ({select}) TO STDOUT (FORMAT binary)", buffer)
            except psycopg2.errors.NumericValueOutOfRange as error:
                cursor.execute("ROLLBACK TO SAVEPOINT copied")
                raise ValueOutOfRange(f"Postgres: {_first_line(error)}") from error
        received = buffer.getbuffer()
        self.bytes_read += len(received)
        return received

    def cut(self) -> None:
        """End whatever waits on this connection, from another thread, whether or not the server still answers."""
        _cut(self._connection)

    @contextmanager
    def _statement(self) -> Iterator[psycopg2.extensions.cursor]:
        with _mapped_errors(), self._watchdog.watching(self._connection), self._connection.cursor() as cursor:
            yield cursor


class SnapshotSessions:
    """Connections that all see the same moment, and work on a list of tasks together."""

    def __init__(self, connections: Sequence[SnapshotConnection], taken_at: float, limits: SessionLimits) -> None:
        self._connections, self._limits = connections, limits
        self._opened = time.monotonic()
        self.taken_at = taken_at  # seconds since the epoch, by the server's clock

    @property
    def first(self) -> SnapshotConnection:
        return self._connections[0]

    @property
    def count(self) -> int:
        return len(self._connections)

    @property
    def server_workers(self) -> int:
        return self._limits.server_workers

    @property
    def bytes_read(self) -> int:
        return sum(connection.bytes_read for connection in self._connections)

    def age_seconds(self) -> float:
        """How long Postgres has had to keep this snapshot's rows from being vacuumed."""
        return time.monotonic() - self._opened

    def run(self, tasks: Sequence[Callable[[SnapshotConnection], Result]]) -> list[Result]:
        """Every task's result, in order; each runs on whichever connection is free.

        The first failure ends the others: a snapshot of which a part is missing is worth nothing.
        """
        if not tasks:
            return []
        free: queue.SimpleQueue[SnapshotConnection] = queue.SimpleQueue()
        for connection in self._connections:
            free.put(connection)

        def work(task: Callable[[SnapshotConnection], Result]) -> Result:
            connection = free.get()
            try:
                return task(connection)
            except BaseException:
                self._cut()
                raise
            finally:
                free.put(connection)

        with ThreadPoolExecutor(len(self._connections)) as pool:
            futures = [pool.submit(work, task) for task in tasks]
            try:
                return _results(futures)
            except BaseException:  # Ctrl-C too must not wait for a COPY to end
                pool.shutdown(wait=False, cancel_futures=True)
                self._cut()
                raise

    def _cut(self) -> None:
        for connection in self._connections:
            connection.cut()


def _results(futures: Sequence[Any]) -> list[Any]:
    """All results, or the error that came first and made the others fail."""
    failed = [error for future in futures if (error := future.exception()) is not None]
    if not failed:
        return [future.result() for future in futures]
    telling = [error for error in failed if not isinstance(error, PostgresUnavailable)]
    raise (telling or failed)[0]


@contextmanager
def open_snapshot(dsn: str, limits: SessionLimits) -> Iterator[SnapshotSessions]:
    """A snapshot for the length of the block. Raises PostgresUnavailable (try again) or SchemaError (do not)."""
    opened: list[psycopg2.extensions.connection] = []
    watchdog = Watchdog(limits.statement_timeout_seconds + SILENCE_SECONDS)
    try:
        with _mapped_errors():
            taken_at, snapshot_id = _export(_open(dsn, opened), limits, watchdog)
            for _ in range(1, limits.connections):
                _adopt(_open(dsn, opened), snapshot_id, limits, watchdog)
        yield SnapshotSessions([SnapshotConnection(connection, watchdog) for connection in opened], taken_at, limits)
    finally:
        watchdog.close()
        for connection in reversed(opened):  # the one that exported goes last
            connection.close()


def _open(dsn: str, opened: list[psycopg2.extensions.connection]) -> psycopg2.extensions.connection:
    try:
        connection: psycopg2.extensions.connection = psycopg2.connect(dsn, **_LIBPQ)
    except psycopg2.ProgrammingError:  # its text would repeat a piece of the DSN, perhaps the password
        raise SettingsError("the Postgres DSN is no connection string", "see WAYPOST_POSTGRES_DSN") from None
    opened.append(connection)
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    return connection


def _export(connection: psycopg2.extensions.connection, limits: SessionLimits, watchdog: Watchdog) -> tuple[float, str]:
    with watchdog.watching(connection), connection.cursor() as cursor:
        cursor.execute(_settings(limits))
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8, pg_export_snapshot()")
        taken_at, snapshot_id = cursor.fetchone()  # type: ignore[misc]
        return taken_at, snapshot_id


def _adopt(
    connection: psycopg2.extensions.connection, snapshot_id: str, limits: SessionLimits, watchdog: Watchdog
) -> None:
    with watchdog.watching(connection), connection.cursor() as cursor:
        try:
            cursor.execute("SET TRANSACTION SNAPSHOT %s", (snapshot_id,))
        except (psycopg2.ProgrammingError, psycopg2.DataError) as error:  # it died with the connection that exported it
            raise PostgresUnavailable(f"Postgres: {_first_line(error)}", "check the server") from error
        cursor.execute(_settings(limits))


def _settings(limits: SessionLimits) -> str:
    milliseconds = int(limits.statement_timeout_seconds * 1000)
    return "; ".join(
        f"SET LOCAL {setting}"
        for setting in (
            f"statement_timeout = {milliseconds}",
            f"lock_timeout = {LOCK_TIMEOUT_SECONDS * 1000}",
            f"idle_in_transaction_session_timeout = {IDLE_STATEMENTS * milliseconds}",
            "timezone = 'UTC'",
            "parallel_setup_cost = 10",  # the default thinks of queries that take milliseconds
            "jit = off",  # compiling our few expressions takes longer than running them
        )
    )


def _cut(connection: psycopg2.extensions.connection) -> None:
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg2.Error):  # closed already
        pass


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except WaypostError:
        raise
    except psycopg2.errors.InsufficientPrivilege as error:
        raise SchemaError(f"Postgres: {_first_line(error)}", "grant the night's role SELECT on it") from error
    except (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError) as error:
        raise SchemaError(
            f"Postgres: {_first_line(error)}", "compare the mapping with the database: `waypost schema check`"
        ) from error
    except psycopg2.errors.ReadOnlySqlTransaction as error:
        raise SchemaError(f"Postgres: {_first_line(error)}", "a mapping's SELECT only reads") from error
    except psycopg2.errors.QueryCanceled as error:
        raise PostgresUnavailable(
            f"Postgres: {_first_line(error)}", "raise WAYPOST_TRAINER_STATEMENT_TIMEOUT_SECONDS if it needs that long"
        ) from error
    except psycopg2.errors.LockNotAvailable as error:
        raise PostgresUnavailable(f"Postgres: {_first_line(error)}", "wait until the migration is done") from error
    except psycopg2.Error as error:
        # A backend killed in mid-COPY raises plain DatabaseError without a code, so nothing finer can be told apart.
        raise PostgresUnavailable(
            f"Postgres: {_first_line(error)}", "check WAYPOST_POSTGRES_DSN and the server"
        ) from error


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "the server ended the connection in the middle of a COPY" if "no message from the libpq" in line else line
