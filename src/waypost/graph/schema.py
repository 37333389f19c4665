"""The tables the night reads, and a check of them before the first row: all that is wrong is told in one line."""

from __future__ import annotations

from waypost.errors import SchemaError
from waypost.graph.postgres import SnapshotConnection

_INTEGER = frozenset({"int2", "int4", "int8"})
_TIME = frozenset({"timestamptz", "timestamp", "date"})
_TEXT = frozenset({"text", "varchar", "bpchar"})

COLUMNS: dict[str, dict[str, frozenset[str]]] = {
    "users": {"user_id": _INTEGER},
    "posts": {"post_id": _INTEGER, "author_id": _INTEGER, "created_at": _TIME, "title": _TEXT, "body": _TEXT},
    "tags": {"tag_id": _INTEGER, "name": _TEXT},
    "post_tags": {"post_id": _INTEGER, "tag_id": _INTEGER},
    "interactions": {"user_id": _INTEGER, "post_id": _INTEGER, "kind": _TEXT, "created_at": _TIME},
}


def check_schema(snapshot: SnapshotConnection) -> None:
    """Raises SchemaError naming every missing table, missing column and column of a type that cannot be read."""
    found = _read_columns(snapshot)
    problems = [f"table {table} is missing" for table in COLUMNS if table not in found]
    for table, columns in COLUMNS.items():
        for column, types in columns.items():
            actual = found.get(table, {}).get(column)
            if table in found and actual is None:
                problems.append(f"column {table}.{column} is missing")
            elif actual is not None and actual not in types:
                problems.append(f"column {table}.{column} is {actual}, not {' or '.join(sorted(types))}")
    if problems:
        raise SchemaError("; ".join(problems), "compare with deploy/postgres/schema.sql")


def _read_columns(snapshot: SnapshotConnection) -> dict[str, dict[str, str]]:
    names = ", ".join(f"('{table}')" for table in COLUMNS)
    rows = snapshot.fetch(
        "SELECT t.name, a.attname, y.typname"
        f" FROM (VALUES {names}) t(name)"
        " JOIN pg_class c ON c.oid = to_regclass(t.name)"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " JOIN pg_type y ON y.oid = a.atttypid"
    )
    found: dict[str, dict[str, str]] = {}
    for table, column, type_name in rows:
        found.setdefault(table, {})[column] = type_name
    return found
