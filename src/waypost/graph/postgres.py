"""A consistent view of the app's Postgres: one REPEATABLE READ READ ONLY transaction, read by binary COPY.

psycopg2's exceptions end here. This module knows SQL text and rows of bytes, not what the columns mean.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions

from waypost.errors import PostgresUnavailable, SchemaError, SettingsError, WaypostError

CONNECT_TIMEOUT_SECONDS = 5
LOCK_TIMEOUT_SECONDS = 10  # a migration that holds a table longer ends this try, not the night
# libpq notices a dead server within about 40 s even when no packet comes back.
_KEEPALIVES: dict[str, Any] = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 10, "keepalives_count": 3}


class SnapshotConnection:
    """One transaction's view of the database; every read of it sees the same moment."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small query."""
        with _mapped_errors(), self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def copy_binary(self, select: str) -> bytes:
        """The rows of `select` in Postgres' binary COPY format, header and trailer included."""
        buffer = io.BytesIO()
        with _mapped_errors(), self._connection.cursor() as cursor:
            cursor.copy_expert(f"COPY ({select}) TO STDOUT (FORMAT binary)", buffer)
        return buffer.getvalue()


@contextmanager
def open_snapshot(dsn: str, statement_timeout_seconds: float) -> Iterator[SnapshotConnection]:
    """A snapshot for the length of the block. Raises PostgresUnavailable (try again) or SchemaError (do not)."""
    connection = _connect(dsn)
    try:
        with _mapped_errors():
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {int(statement_timeout_seconds * 1000)}")
                cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_SECONDS * 1000}")
                cursor.execute(
                    f"SET LOCAL idle_in_transaction_session_timeout = {int(statement_timeout_seconds * 1000)}"
                )
                cursor.execute("SET LOCAL timezone = 'UTC'")
        yield SnapshotConnection(connection)
    finally:
        connection.close()


def _connect(dsn: str) -> psycopg2.extensions.connection:
    with _mapped_errors():
        try:
            connection: psycopg2.extensions.connection = psycopg2.connect(
                dsn, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name="waypost trainer", **_KEEPALIVES
            )
        except psycopg2.ProgrammingError:  # its text would repeat a piece of the DSN, perhaps the password
            raise SettingsError("the Postgres DSN is no connection string", "see WAYPOST_POSTGRES_DSN") from None
    return connection


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except WaypostError:
        raise
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn, psycopg2.errors.DatatypeMismatch) as error:
        raise SchemaError(f"Postgres: {_first_line(error)}", "compare with deploy/postgres/schema.sql") from error
    except psycopg2.errors.InsufficientPrivilege as error:
        raise SchemaError(f"Postgres: {_first_line(error)}", "grant the night's role SELECT on it") from error
    except psycopg2.Error as error:
        # A backend killed in mid-COPY raises plain DatabaseError without a code, so nothing finer can be told apart.
        raise PostgresUnavailable(
            f"Postgres: {_first_line(error)}", "check WAYPOST_POSTGRES_DSN and the server"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
