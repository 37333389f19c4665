"""What a mapping's SELECTs give, asked of Postgres before the first row: all that is wrong is told in one line."""

from __future__ import annotations

from dataclasses import dataclass

from waypost.errors import PostgresUnavailable, SchemaError
from waypost.graph.mapping import DEFAULT, Mapping, Role, Source
from waypost.graph.postgres import SnapshotConnection
from waypost.graph.tensors import KeyType
from waypost.graph.wire import WireSource, wire_columns

# Type OIDs are fixed in Postgres' own catalogue (src/include/catalog/pg_type.dat).
_INTEGER = {20: "bigint", 21: "smallint", 23: "integer"}
_TIME = {1184: "timestamptz", 1114: "timestamp", 1082: "date"}
_TEXT = {25: "text", 1043: "varchar", 1042: "char"}
_UUID = {2950: "uuid"}
_KEY_TYPES: dict[KeyType, dict[int, str]] = {"integer": _INTEGER, "text": {}, "uuid": {**_UUID, **_TEXT}}

REQUIRED: dict[Role, tuple[str, ...]] = {
    "users": ("user_id",),
    "posts": ("post_id",),
    "tags": ("tag_id", "name"),
    "post_tags": ("post_id", "tag_id"),
    "interactions": ("user_id", "post_id"),
}
OPTIONAL: dict[Role, tuple[str, ...]] = {
    "users": (),
    "posts": ("author_id", "created_at", "title", "body"),
    "tags": (),
    "post_tags": (),
    "interactions": ("kind", "created_at"),
}


@dataclass(frozen=True)
class Described:
    """A source and the columns that its SELECT gives, name -> type OID; or why it gives none."""

    source: Source
    columns: dict[str, int]
    problems: tuple[str, ...]


def describe(connection: SnapshotConnection, mapping: Mapping) -> list[Described]:
    """Every source, checked for the columns and types that its role needs."""
    return [_describe(connection, mapping, source) for source in mapping.sources]


def check_schema(connection: SnapshotConnection, mapping: Mapping) -> list[WireSource]:
    """How each source is read. Raises SchemaError naming everything that is missing or of a type that is not read,
    PostgresUnavailable when a table cannot be read as it was at the snapshot's moment."""
    described = describe(connection, mapping)
    problems = [problem for source in described for problem in source.problems]
    if problems:
        remedy = "compare with deploy/postgres/schema.sql" if mapping == DEFAULT else "see docs/mapping.md"
        raise SchemaError("; ".join(problems), f"{remedy}; `waypost schema check` shows what is read")
    _require_untouched(connection)
    return [to_wire(source, mapping, connection.server_version) for source in described]


def _require_untouched(connection: SnapshotConnection) -> None:
    """Now that every table has been looked at, and is locked against it, none may have been rewritten before.

    TRUNCATE and a rewriting ALTER TABLE do not heed snapshots ("Caveats" in Postgres' chapter on MVCC): a table that
    was emptied and filled again between our snapshot and our first look would be empty to us, and was so for nobody.
    The catalogue as the snapshot sees it names the old file, pg_relation_filenode the present one.
    """
    rewritten = connection.fetch(
        "SELECT DISTINCT c.oid::regclass::text FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation"
        " WHERE l.pid = pg_backend_pid() AND c.relkind IN ('r', 'm') AND c.relfilenode <> 0"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND c.relfilenode <> pg_relation_filenode(c.oid)"
    )
    if rewritten:
        names = ", ".join(sorted(name for (name,) in rewritten))
        raise PostgresUnavailable(f"{names} was truncated or rewritten while the snapshot was taken", "try again")


def to_wire(described: Described, mapping: Mapping, server_version: int) -> WireSource:
    columns = wire_columns(
        described.source, frozenset(described.columns), mapping.user_key, mapping.post_key, mapping.tag_key
    )
    return WireSource(described.source, columns, server_version)


def _describe(connection: SnapshotConnection, mapping: Mapping, source: Source) -> Described:
    try:
        columns = connection.describe(source.select)
    except SchemaError as error:
        return Described(source, {}, (f"{source.name}: {error.cause}",))
    needed = REQUIRED[source.role]
    problems = [f"{source.name}: column {name} is missing" for name in needed if name not in columns]
    for name in (*needed, *OPTIONAL[source.role]):
        expected = _expected(name, mapping)
        if name in columns and expected and columns[name] not in expected:
            names = " or ".join(expected.values())
            problems.append(f"{source.name}: column {name} is {_type_name(connection, columns[name])}, not {names}")
    if source.kind is not None and "kind" in columns:
        problems.append(f"{source.name}: `kind` is given and the SELECT has a column kind")
    return Described(source, columns, tuple(problems))


def _expected(name: str, mapping: Mapping) -> dict[int, str]:
    """OID -> name of the types that are read; empty where any is, as text."""
    keys = {
        "user_id": mapping.user_key,
        "author_id": mapping.user_key,
        "post_id": mapping.post_key,
        "tag_id": mapping.tag_key,
    }
    if name in keys:
        return _KEY_TYPES[keys[name]]
    return _TIME if name == "created_at" else {}


def _type_name(connection: SnapshotConnection, oid: int) -> str:
    return str(connection.fetch(f"SELECT format_type({int(oid)}, NULL)")[0][0])
