"""Snapshot: what the app's tables held at one moment, as columns of app ids. The fingerprint names that content.

NULLs are turned into sentinels by the server, so that every column but the text is fixed-width. The fingerprint comes
from hashes that the server computes inside the same transaction: an unchanged graph is known without moving it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.errors import EmptyGraph, SchemaError
from waypost.graph.copy_format import parse_fixed, parse_id_and_text
from waypost.graph.postgres import SnapshotConnection
from waypost.graph.tensors import NO_TIME, Int64Array

FORMAT = 1  # of Snapshot and GraphTensors together; a change makes every cached tensor foreign
MAX_TEXT_CHARACTERS = 4_000  # of title and body together; the tokenizer reads no more than the first part anyway
MAX_KINDS = 256  # a kind is stored in one byte
_POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970-01-01
_INFINITY = np.iinfo(np.int64).max  # how Postgres sends 'infinity'; '-infinity' is NO_TIME already

# What is hashed is what is read, column by column: a change that the night cannot see must not cost a full read.
_HASHED = {
    "users": "user_id::int8",
    "posts": "post_id::int8, author_id::int8, created_at::timestamptz, title::text, body::text",
    "tags": "tag_id::int8, name::text",
    "post_tags": "post_id::int8, tag_id::int8",
    "interactions": "user_id::int8, post_id::int8, kind::text, created_at::timestamptz",
}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Columns as they stand in Postgres; rows in no particular order."""

    user_ids: Int64Array
    post_ids: Int64Array
    post_author_ids: Int64Array
    post_has_author: NDArray[np.bool_]
    post_created_at: Int64Array  # microseconds since the epoch, UTC, or NO_TIME
    text_post_ids: Int64Array  # posts with any text
    texts: list[str]  # title, line feed, body
    tag_ids: Int64Array
    tag_names: list[str]
    post_tag_post_ids: Int64Array
    post_tag_tag_ids: Int64Array
    kinds: tuple[str, ...]
    interaction_user_ids: Int64Array
    interaction_post_ids: Int64Array
    interaction_kinds: NDArray[np.uint8]  # position in kinds
    interaction_created_at: Int64Array


def read_fingerprint(snapshot: SnapshotConnection) -> str:
    """32 hexadecimal digits that name the content the night would read; equal content, equal name.

    Order-independent: two sums of 64-bit row hashes with different seeds and the count, per table.
    """
    facts: dict[str, list[str]] = {"format": [str(FORMAT)]}
    for table, columns in _HASHED.items():
        row = f"ROW({columns})"
        (counted,) = snapshot.fetch(
            f"SELECT count(*), coalesce(sum(hash_record_extended({row}, 0)::numeric), 0),"
            f" coalesce(sum(hash_record_extended({row}, 1)::numeric), 0) FROM {table}"
        )
        facts[table] = [str(value) for value in counted]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def read_snapshot(snapshot: SnapshotConnection) -> Snapshot:
    """Everything the night needs. Raises EmptyGraph when there is nothing to learn from."""
    kinds = _read_kinds(snapshot)
    interactions = _read_interactions(snapshot, kinds)
    users = _read(snapshot, "SELECT user_id::int8 FROM users", user_id=">i8")
    posts = _read(
        snapshot,
        "SELECT post_id::int8, coalesce(author_id::int8, 0), author_id IS NOT NULL,"
        " coalesce(created_at::timestamptz, '-infinity') FROM posts",
        post_id=">i8", author_id=">i8", has_author="i1", created_at=">i8",
    )  # fmt: skip
    if not len(users["user_id"]) or not len(posts["post_id"]) or not len(interactions["user_id"]):
        raise EmptyGraph(
            f"nothing to learn from: {len(users['user_id'])} users, {len(posts['post_id'])} posts,"
            f" {len(interactions['user_id'])} interactions",
            "run `waypost load DIR` first",
        )
    text_post_ids, texts = parse_id_and_text(snapshot.copy_binary(
        f"SELECT post_id::int8, left(concat_ws(E'\\n', title, body), {MAX_TEXT_CHARACTERS}) FROM posts"
        " WHERE coalesce(title, '') <> '' OR coalesce(body, '') <> ''"
    ))  # fmt: skip
    tag_ids, tag_names = parse_id_and_text(
        snapshot.copy_binary("SELECT tag_id::int8, coalesce(name::text, '') FROM tags")
    )
    post_tags = _read(
        snapshot,
        "SELECT post_id::int8, tag_id::int8 FROM post_tags WHERE post_id IS NOT NULL AND tag_id IS NOT NULL",
        post_id=">i8", tag_id=">i8",
    )  # fmt: skip
    return Snapshot(
        user_ids=users["user_id"],
        post_ids=posts["post_id"],
        post_author_ids=posts["author_id"],
        post_has_author=posts["has_author"].astype(bool),
        post_created_at=_unix_microseconds(posts["created_at"]),
        text_post_ids=text_post_ids,
        texts=texts,
        tag_ids=tag_ids,
        tag_names=tag_names,
        post_tag_post_ids=post_tags["post_id"],
        post_tag_tag_ids=post_tags["tag_id"],
        kinds=kinds,
        interaction_user_ids=interactions["user_id"],
        interaction_post_ids=interactions["post_id"],
        interaction_kinds=interactions["kind"].astype(np.uint8),
        interaction_created_at=_unix_microseconds(interactions["created_at"]),
    )


def _read_kinds(snapshot: SnapshotConnection) -> tuple[str, ...]:
    rows = snapshot.fetch("SELECT DISTINCT coalesce(kind::text, '') FROM interactions")
    kinds = tuple(sorted(kind for (kind,) in rows))
    if len(kinds) > MAX_KINDS:
        raise SchemaError(
            f"interactions.kind has {len(kinds)} values, at most {MAX_KINDS} are read", "map some together"
        )
    return kinds


def _read_interactions(snapshot: SnapshotConnection, kinds: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    known = ", ".join("'" + kind.replace("'", "''") + "'" for kind in kinds)
    return _read(
        snapshot,
        "SELECT user_id::int8, post_id::int8,"
        f" (array_position(ARRAY[{known}]::text[], coalesce(kind::text, '')) - 1)::int2,"
        " coalesce(created_at::timestamptz, '-infinity') FROM interactions"
        " WHERE user_id IS NOT NULL AND post_id IS NOT NULL",
        user_id=">i8", post_id=">i8", kind=">i2", created_at=">i8",
    )  # fmt: skip


def _read(snapshot: SnapshotConnection, select: str, **columns: str) -> dict[str, NDArray[Any]]:
    return parse_fixed(snapshot.copy_binary(select), columns)


def _unix_microseconds(postgres_time: Int64Array) -> Int64Array:
    missing = (postgres_time == NO_TIME) | (postgres_time == _INFINITY)
    return np.where(missing, NO_TIME, np.where(missing, 0, postgres_time) + _POSTGRES_EPOCH_MICROSECONDS)
