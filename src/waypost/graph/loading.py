"""A graph directory into Postgres: COPY into temporary tables, then whole-set SQL, all in one transaction.

The temporary tables number their rows, so that a refusal names a line. What is wrong inside a value Postgres finds
while copying; what names nobody is found by one anti-join per reference, before the foreign keys would say the same
without a line. Which columns may be NULL is the database's decision: the temporary tables repeat its NOT NULLs.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.sql import SQL, Composable, Composed, Identifier

from waypost.errors import GraphDirectoryError, PostgresUnavailable, SchemaError, SettingsError, WaypostError
from waypost.graph.directory import BLOCK_BYTES, COLUMNS, RowStream, TableFile, open_rows, read_directory
from waypost.logs import Progress

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS: Final = 10
LOCK_TIMEOUT_SECONDS: Final = 60  # another load or a migration holds the tables; waiting longer helps nobody
STATEMENT_TIMEOUT_SECONDS: Final = 3600  # a load that has not finished a statement by then never will
WORK_MEMORY: Final = "256MB"  # sorting and hashing two million rows stays in memory
LOAD_LOCK: Final = 0x57617970  # "Wayp": two loads at once could both add the same row
KEYS: Final = {"users": "user_id", "tags": "tag_id", "posts": "post_id"}  # in the order in which they are needed
LINKS: Final = ("post_tags", "interactions")
_TIME: Final = "timestamp with time zone"
_TYPES: Final = {"created_at": _TIME, "kind": "text", "name": "text", "title": "text", "body": "text"}  # else bigint
_ALIASES: Final = {"character varying": "text"}
_REMEDY_SCHEMA: Final = "apply deploy/postgres/schema.sql"


class Reference(NamedTuple):
    column: str
    target: str


REFERENCES: Final = {
    "posts": (Reference("author_id", "users"),),
    "post_tags": (Reference("post_id", "posts"), Reference("tag_id", "tags")),
    "interactions": (Reference("user_id", "users"), Reference("post_id", "posts")),
}

_BAD_VALUES: Final = {  # SQLSTATE -> what the line holds; Postgres' own words would repeat the value, perhaps an id
    "22P02": "no 64-bit integer",
    "22003": "a number outside -2^63 to 2^63-1",
    "22007": "no time",
    "22008": "a time outside Postgres' range",
    "22009": "a time in no known zone",
    "22023": "a time in no known zone",
    "23502": "NULL",
    "22021": "a NUL character or bytes that are not UTF-8",
    "22P05": "a character that the database's encoding lacks",
}


@dataclass(frozen=True)
class TableReport:
    table: str
    read: int  # rows in the file
    added: int
    updated: int  # known rows in which something changed


@dataclass(frozen=True)
class LoadReport:
    tables: tuple[TableReport, ...]
    seconds: float

    def __str__(self) -> str:
        parts = (f"{t.table} {t.read} read, {t.added} added, {t.updated} updated" for t in self.tables)
        return f"{'; '.join(parts)}; {self.seconds:.1f} s"


class Staged(NamedTuple):
    """A file's rows in their temporary table."""

    file: TableFile
    stream: RowStream
    rows: int
    has_updated_at: bool

    @property
    def table(self) -> Identifier:
        return Identifier(f"staged_{self.file.table}")


def load_directory(dsn: str, directory: Path) -> LoadReport:
    """Load `directory` whole or not at all.

    Raises GraphDirectoryError with file and line, SchemaError, or PostgresUnavailable (then running it again is right).
    """
    started = time.monotonic()
    files = read_directory(directory)
    with _connected(dsn) as connection, connection.cursor() as cursor, ExitStack() as sources:
        _prepare(cursor)
        columns = {table: _read_columns(cursor, table) for table in COLUMNS}
        with Progress(logger, "graph directory read", "rows") as progress:
            staged = {file.table: _copy(cursor, file, columns[file.table], progress, sources) for file in files}
        reports = [_merge(cursor, staged[table]) for table in (*KEYS, *LINKS) if table in staged]
        connection.commit()
    return LoadReport(tuple(reports), time.monotonic() - started)


@contextmanager
def _connected(dsn: str) -> Iterator[Connection]:
    """A connection whose work is lost unless the block commits; the driver's errors end here."""
    with _driver_errors():
        try:
            opened = psycopg2.connect(
                dsn,
                application_name="waypost load",
                client_encoding="UTF8",
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                keepalives_idle=10,  # seconds; a silent server is given up after about 30
                keepalives_interval=5,
                keepalives_count=4,
                tcp_user_timeout=30_000,  # milliseconds
            )
        except psycopg2.ProgrammingError:
            raise SettingsError("the Postgres DSN is no connection string", "see WAYPOST_POSTGRES_DSN") from None
        with closing(opened):
            yield opened


def _prepare(cursor: Cursor) -> None:
    """The server's own settings must not change what a file means; then wait for any other load to end."""
    cursor.execute("SET LOCAL TIME ZONE 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'")
    cursor.execute("SET LOCAL work_mem = %s", (WORK_MEMORY,))
    cursor.execute("SET LOCAL statement_timeout = %s", (f"{STATEMENT_TIMEOUT_SECONDS}s",))
    cursor.execute("SET LOCAL lock_timeout = %s", (f"{LOCK_TIMEOUT_SECONDS}s",))
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOAD_LOCK,))


class Column(NamedTuple):
    type: str
    not_null: bool


def _read_columns(cursor: Cursor, table: str) -> dict[str, Column]:
    """The table's columns as the database has them; raises SchemaError unless they can take the files' values."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, NULL), attnotnull FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (table,),
    )
    found = {name: Column(_ALIASES.get(kind, kind), not_null) for name, kind, not_null in cursor.fetchall()}
    if not found:
        raise SchemaError(f"the database has no table {table}", _REMEDY_SCHEMA)
    for column in COLUMNS[table]:
        wanted = _TYPES.get(column, "bigint")
        if column not in found:
            raise SchemaError(f"table {table} has no column {column}", _REMEDY_SCHEMA)
        if found[column].type != wanted:
            raise SchemaError(f"column {table}.{column} is {found[column].type}, not {wanted}", _REMEDY_SCHEMA)
    return found


def _copy(
    cursor: Cursor, file: TableFile, columns: dict[str, Column], progress: Progress, sources: ExitStack
) -> Staged:
    """Fill the file's temporary table; columns of the file that are not ours are copied as text and never read."""
    names = [name if name in COLUMNS[file.table] else f"ignored_{i}" for i, name in enumerate(file.header)]
    if strangers := [name for name in file.header if name not in COLUMNS[file.table]]:
        logger.warning("columns ignored", extra={"file": file.name, "columns": strangers})
    table = Identifier(f"staged_{file.table}")
    definitions: list[Composable] = [_definition(name, columns.get(name, Column("text", False))) for name in names]
    definitions.append(SQL("row bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000)"))
    statement = SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP")
    cursor.execute(statement.format(table, SQL(", ").join(definitions)))
    stream = sources.enter_context(open_rows(file, lambda rows: progress.advance(rows, file=file.name)))
    _copy_rows(cursor, SQL("COPY {} ({}) FROM STDIN").format(table, _joined(names)), file, stream)
    staged = Staged(file, stream, cursor.rowcount, "updated_at" in columns)
    cursor.execute(SQL("ANALYZE {}").format(table))
    return staged


def _definition(name: str, column: Column) -> Composed:
    constraint = SQL(" NOT NULL") if column.not_null else SQL("")
    return SQL("{} {}{}").format(Identifier(name), SQL(column.type), constraint)


def _copy_rows(cursor: Cursor, statement: Composed, file: TableFile, stream: RowStream) -> None:
    try:
        cursor.copy_expert(statement, cast(Any, stream), size=BLOCK_BYTES)  # it only calls `read`
    except psycopg2.Error as error:
        if stream.failure:
            raise stream.failure from None
        place = re.search(r"staged_\w+\D+(\d+)(?:, \S+ (\w+):)?", error.diag.context or "")  # in any language
        if not place:
            raise
        column = error.diag.column_name or (place[2] if place[2] in file.header else None)
        raise _bad_line(file, stream.line_of(int(place[1])), column, error) from None


def _bad_line(file: TableFile, line: int, column: str | None, error: psycopg2.Error) -> GraphDirectoryError:
    where = f"{file.name} line {line}" + (f", column {column}" if column else "")
    what = _BAD_VALUES.get(error.pgcode or "") or _without_values(error)
    return GraphDirectoryError(f"{where}: {what}", "correct that line; nothing of this load stays")


def _without_values(error: psycopg2.Error) -> str:
    """Postgres' sentence, less the value it quotes after a colon."""
    return re.sub(r': ".*', "", error.diag.message_primary or "refused by Postgres", flags=re.DOTALL)


def _merge(cursor: Cursor, staged: Staged) -> TableReport:
    """Move a temporary table's rows into the app's table."""
    started = time.monotonic()
    table = staged.file.table
    logger.info("merging rows", extra={"table": table, "rows": staged.rows})
    for reference in REFERENCES.get(table, ()):
        _refuse_unknown(cursor, staged, reference)
    added, updated = _upsert(cursor, staged) if table in KEYS else _add(cursor, staged)
    seconds = round(time.monotonic() - started, 3)
    logger.info("rows merged", extra={"table": table, "added": added, "updated": updated, "seconds": seconds})
    return TableReport(table, staged.rows, added, updated)


def _refuse_unknown(cursor: Cursor, staged: Staged, reference: Reference) -> None:
    """Raise for the first row whose reference is found neither in the files nor in the database."""
    cursor.execute(
        SQL(
            "SELECT row, count(*) OVER () FROM {staged} AS staged WHERE {column} IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM {target} AS known WHERE known.{key} = staged.{column}) ORDER BY row LIMIT 1"
        ).format(
            staged=staged.table,
            column=Identifier(reference.column),
            target=Identifier(reference.target),
            key=Identifier(KEYS[reference.target]),
        )
    )
    if first := cursor.fetchone():
        row, count = first
        where = f"{staged.file.name} line {staged.stream.line_of(row)}"
        others = f" (and {count - 1} more lines)" if count > 1 else ""
        cause = (
            f"{where}{others}: {reference.column} is found neither in the {reference.target} file nor in the database"
        )
        raise GraphDirectoryError(cause, f"add it to the {reference.target} file; nothing of this load stays")


def _upsert(cursor: Cursor, staged: Staged) -> tuple[int, int]:
    """Add unknown ids, update known ones where something differs; of several rows with one id the last counts."""
    names = COLUMNS[staged.file.table]
    key = KEYS[staged.file.table]
    values = [name for name in names if name != key]
    changes: list[Composable] = [SQL("{0} = excluded.{0}").format(Identifier(name)) for name in values]
    if staged.has_updated_at:
        changes.append(SQL("updated_at = now()"))
    cursor.execute(
        SQL(
            "WITH changed AS ("
            " INSERT INTO {table} AS known ({names}) SELECT {names} FROM {staged}"
            " JOIN (SELECT max(row) AS row FROM {staged} GROUP BY {key}) AS latest USING (row)"
            " ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE ROW({old}) IS DISTINCT FROM ROW({new})"
            " RETURNING xmax = 0 AS added)"  # a row version that replaced none was never locked: it is new
            " SELECT count(*) FILTER (WHERE added), count(*) FILTER (WHERE NOT added) FROM changed"
        ).format(
            table=Identifier(staged.file.table),
            names=_joined(names),
            staged=staged.table,
            key=Identifier(key),
            changes=SQL(", ").join(changes),
            old=_joined(values, "known"),
            new=_joined(values, "excluded"),
        )
    )
    added, updated = cursor.fetchone() or (0, 0)
    return added, updated


def _add(cursor: Cursor, staged: Staged) -> tuple[int, int]:
    """Add the rows that equal no other in all columns; EXCEPT takes NULLs as equal and repeats once."""
    names = COLUMNS[staged.file.table]
    statement = SQL(
        "INSERT INTO {table} ({names}) SELECT {names} FROM {staged} EXCEPT SELECT {names} FROM {table}"
        " ORDER BY {order} ON CONFLICT DO NOTHING"
    ).format(
        table=Identifier(staged.file.table),
        names=_joined(names),
        staged=staged.table,
        order=_joined(names[:2]),  # neighbours in the index are neighbours on disk
    )
    with _keys_checked_at_once(cursor, staged.file.table):
        cursor.execute(statement)
        return cursor.rowcount, 0


@contextmanager
def _keys_checked_at_once(cursor: Cursor, table: str) -> Iterator[None]:
    """For a table that is still empty, put its foreign keys back after the block, where they are checked as a whole.

    Row by row they take more than half of the load's time. It happens inside the transaction, so nobody ever sees the
    table without them; a table with rows in it keeps its keys, because dropping one would lock the app's readers out.
    """
    name = Identifier(table)
    cursor.execute(SQL("SELECT EXISTS (SELECT FROM {})").format(name))
    is_filled = cursor.fetchone() == (True,)
    keys = [] if is_filled else _read_own_keys(cursor, table)
    for key, _ in keys:
        cursor.execute(SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(name, Identifier(key)))
    yield
    for key, definition in keys:
        cursor.execute(SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(name, Identifier(key), SQL(definition)))


def _read_own_keys(cursor: Cursor, table: str) -> list[tuple[str, str]]:
    """Name and definition of the foreign keys that this role may drop and make again."""
    cursor.execute(
        "SELECT conname, pg_get_constraintdef(key.oid)"
        " FROM pg_constraint AS key JOIN pg_class ON pg_class.oid = conrelid"
        " WHERE conrelid = to_regclass(%s) AND contype = 'f' AND coninhcount = 0"
        " AND pg_has_role(relowner, 'USAGE') AND has_table_privilege(confrelid, 'REFERENCES')",
        (table,),
    )
    return list(cursor.fetchall())


def _joined(names: list[str] | tuple[str, ...], table: str | None = None) -> Composed:
    return SQL(", ").join(Identifier(table, name) if table else Identifier(name) for name in names)


@contextmanager
def _driver_errors() -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        raise _mapped(error) from None


def _mapped(error: psycopg2.Error) -> WaypostError:
    """Ours for the driver's; a backend that dies in mid-COPY often leaves no SQLSTATE at all."""
    code = error.pgcode or ""
    sentence = _without_values(error) if code else " ".join(str(error).split()) or "connection lost"
    if code == "55P03":
        return PostgresUnavailable("another load or a migration holds the tables", "run it again when that has ended")
    if code in ("23503", "40001", "40P01"):
        return PostgresUnavailable(f"the app changed the same rows ({sentence})", "run it again")
    if code in ("42501", "25006"):  # the latter: a role or a standby on which every transaction is read-only
        return SchemaError(f"the role may not load here ({sentence})", "load as the owner of the tables")
    if code.startswith(("42", "3F")):
        return SchemaError(sentence, _REMEDY_SCHEMA)
    if code.startswith(("22", "23")):
        return GraphDirectoryError(f"Postgres refused the rows ({sentence})", "correct the files")
    return PostgresUnavailable(f"Postgres is not available ({sentence})", "check that it runs, then run it again")
