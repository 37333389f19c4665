"""The wire: each source's columns as fixed SQL types, whatever the app declares, and the hash of a row of them.

A key crosses as int8: an integer as it is, a text or UUID as Postgres' own 64-bit hash of it, so that edges stay
fixed-width; the strings themselves cross once, with their nodes. What is hashed is exactly what is read, so a change
that the night cannot see costs nothing, and one that it can see is never missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from waypost.graph.mapping import Source
from waypost.graph.tensors import KeyType

WireType = Literal["id", "flag", "time", "text"]
MAX_TEXT_CHARACTERS = 4_000  # of title and body together; the tokenizer reads no more than the first part anyway
TIMESTAMPTZ_HASH_VERSION = 180_000  # older servers hash timestamptz through timestamp's function
# A fold of 64 bits to 32 is how Postgres hashes int8 and timestamps: two times 2^32 + 1 microseconds apart may share a
# hash. So integers enter a hash as its 64-bit seed, and a time is hashed together with its upper half.
_UPPER_HALF = "4294.967296 s"  # 2^32 microseconds
_FIRST_BINNED = "4714-11-24 02:00:00+00 BC"  # a bin of an earlier time would begin before Postgres' calendar


@dataclass(frozen=True)
class WireColumn:
    name: str
    type: WireType
    sql: str  # over the SELECT's own columns
    hashed: bool = False  # an id that is the hash of a text or UUID: any 64 bits


@dataclass(frozen=True)
class WireSource:
    """A source as it is read: columns of the wire over the app's SELECT, ids first, texts last."""

    source: Source
    columns: tuple[WireColumn, ...]
    server_version: int

    @property
    def name(self) -> str:
        return self.source.name

    def column(self, name: str) -> WireColumn | None:
        return next((column for column in self.columns if column.name == name), None)

    @property
    def ids(self) -> tuple[WireColumn, ...]:
        """Those that a row cannot do without."""
        return tuple(column for column in self.columns if column.type == "id" and column.name != "author_id")

    def rows(self, wanted: Sequence[tuple[str, str]]) -> str:
        """`(SELECT sql AS name, … FROM the app's SELECT) AS wire`"""
        return f"(SELECT {', '.join(f'{sql} AS {name}' for name, sql in wanted)} FROM {self.app_rows}) AS wire"

    @property
    def app_rows(self) -> str:
        return f"({self.source.select}\n) AS app"  # the line feed ends a comment

    @property
    def complete(self) -> str:
        """The condition that a row has every id it needs."""
        return " AND ".join(f"({column.sql}) IS NOT NULL" for column in self.ids)

    @property
    def row_hash(self) -> str:
        """A 64-bit hash of all columns, NULL where an id is missing."""
        hashed = "'0'::int8"
        for position, column in enumerate(self.columns):
            hashed = _HASH[column.type](column.sql, hashed, position, self.server_version)
        return hashed


def key_sql(column: str, key: KeyType) -> str:
    """The column as int8. Hashes of text are taken under the C collation: by bytes, whatever the column says."""
    if key == "integer":
        return f'app."{column}"::int8'
    if key == "uuid":
        return f'uuid_hash_extended(app."{column}"::uuid, 0)'
    return f'hashtextextended(app."{column}"::text COLLATE "C", 0)'


def wire_columns(
    source: Source, found: frozenset[str], user_key: KeyType, post_key: KeyType, tag_key: KeyType
) -> tuple[WireColumn, ...]:
    """The wire of a source whose SELECT has the columns `found`."""
    keys: dict[str, KeyType] = {"user_id": user_key, "author_id": user_key, "post_id": post_key, "tag_id": tag_key}

    def identity(name: str) -> WireColumn:
        return WireColumn(name, "id", key_sql(name, keys[name]), hashed=keys[name] != "integer")

    def key_text(name: str) -> list[WireColumn]:
        if keys[name] == "integer":
            return []
        return [WireColumn("key", "text", f'app."{name}"::{"uuid::" if keys[name] == "uuid" else ""}text')]

    if source.role == "users":
        return (identity("user_id"), *key_text("user_id"))
    if source.role == "tags":
        return (identity("tag_id"), WireColumn("name", "text", "coalesce(app.\"name\"::text, '')"))
    if source.role == "post_tags":
        return (identity("post_id"), identity("tag_id"))
    if source.role == "interactions":
        kind = [WireColumn("kind", "text", "coalesce(app.\"kind\"::text, '')")] if "kind" in found else []
        return (identity("user_id"), identity("post_id"), *_time(found), *kind)
    return (identity("post_id"), *_author(found, user_key), *_time(found), _post_text(found), *key_text("post_id"))


def _time(found: frozenset[str]) -> list[WireColumn]:
    if "created_at" not in found:
        return []
    return [WireColumn("created_at", "time", "coalesce(app.\"created_at\"::timestamptz, '-infinity')")]


def _author(found: frozenset[str], key: KeyType) -> list[WireColumn]:
    if "author_id" not in found:
        return []
    return [
        WireColumn("author_id", "id", f"coalesce({key_sql('author_id', key)}, 0)"),
        WireColumn("has_author", "flag", 'app."author_id" IS NOT NULL'),
    ]


def _post_text(found: frozenset[str]) -> WireColumn:
    """Characters are counted only where there may be too many: counting costs more than all the rest."""
    parts = [f'app."{name}"::text' for name in ("title", "body") if name in found]
    if not parts:
        return WireColumn("text", "text", "''")
    size = " + ".join(f"coalesce(octet_length({part}), 0)" for part in parts)
    whole = f"concat_ws(E'\n', {', '.join(parts)})"
    cut = f"left({whole}, {MAX_TEXT_CHARACTERS})"
    return WireColumn(
        "text", "text", f"CASE WHEN {size} = 0 THEN '' WHEN {size} < {MAX_TEXT_CHARACTERS} THEN {whole} ELSE {cut} END"
    )


def _hash_id(sql: str, seed: str, position: int, server_version: int) -> str:
    return f"hashint4extended({position}, {seed} # {sql})"


def _hash_flag(sql: str, seed: str, position: int, server_version: int) -> str:
    return f"hashint4extended(({sql})::int4, {seed})"


def _hash_text(sql: str, seed: str, position: int, server_version: int) -> str:
    return f'hashtextextended({sql} COLLATE "C", {seed})'


def _hash_time(sql: str, seed: str, position: int, server_version: int) -> str:
    upper = f"date_bin('{_UPPER_HALF}', greatest({sql}, '{_FIRST_BINNED}'), '2000-01-01 00:00:00+00')"
    if server_version >= TIMESTAMPTZ_HASH_VERSION:
        return f"timestamptz_hash_extended({upper}, timestamptz_hash_extended({sql}, {seed}))"
    lower, upper = f"({sql}) AT TIME ZONE 'UTC'", f"({upper}) AT TIME ZONE 'UTC'"
    return f"timestamp_hash_extended({upper}, timestamp_hash_extended({lower}, {seed}))"


_HASH = {"id": _hash_id, "flag": _hash_flag, "time": _hash_time, "text": _hash_text}
