"""What the graph should be, by another way: plain SELECTs into Python sets and lists, and no line of the reader's code.

`bytes_of` is what "byte for byte" means in the tests; `dangling` looks for edges that point nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from waypost.graph.mapping import Mapping as SchemaMapping
from waypost.graph.tensors import NO_AUTHOR, NO_TIME, Csr, GraphTensors, Interactions, KeyType
from waypost.graph.texts import Texts, to_texts

MAX_CHARACTERS = 4_000
Key = int | str
Row = tuple[Any, ...]


def microseconds(column: str) -> str:
    """Exact, however far away; NULL for a time that is not on the calendar."""
    return f"CASE WHEN isfinite({column}) THEN extract(epoch FROM {column}) * 1000000 END"


@dataclass(frozen=True)
class Truth:
    """One SELECT a source: (user), (post, author, time, title, body), (tag, name), (post, tag), and by the name of the
    interactions' source (user, post, kind, time)."""

    users: str
    posts: str
    tags: str
    post_tags: str
    interactions: Mapping[str, str]


@dataclass(frozen=True)
class Rows:
    """What those SELECTs gave."""

    users: Sequence[Row]
    posts: Sequence[Row]
    tags: Sequence[Row]
    post_tags: Sequence[Row]
    interactions: Mapping[str, Sequence[Row]]


def read_rows(cursor: Cursor, truth: Truth) -> Rows:
    def fetched(select: str) -> list[Row]:
        cursor.execute(select)
        return cursor.fetchall()

    return Rows(
        fetched(truth.users),
        fetched(truth.posts),
        fetched(truth.tags),
        fetched(truth.post_tags),
        {name: fetched(select) for name, select in truth.interactions.items()},
    )


def expected(rows: Rows, mapping: SchemaMapping) -> GraphTensors:
    """The tensors that these rows are."""
    users = _numbered({user for (user,) in rows.users})
    posts = _numbered({post for post, *_ in rows.posts})
    facts = {post: facts for post, *facts in rows.posts}
    tags = dict(sorted({tag: name or "" for tag, name in rows.tags if tag is not None}.items()))
    tag_rows = {tag: row for row, tag in enumerate(tags)}
    kinds = sorted({(kind or "", name) for name, _, _, kind, _ in _whole(rows)})
    times = [_time(facts[post][1]) for post in posts]
    names = tuple(kind for kind, _ in kinds)
    weights = dict(mapping.weights)
    return GraphTensors(
        user_ids=_ids(users),
        post_ids=_ids(posts),
        tag_ids=np.array(list(tags), np.int64),
        tag_names=tuple(tags.values()),
        kinds=names,
        post_author=np.array([users.get(facts[post][0], NO_AUTHOR) for post in posts], np.int32),
        post_created_at=np.array(times, np.int64),
        post_tags=_csr(
            {(posts[p], tag_rows[t]) for p, t in rows.post_tags if p in posts and t in tag_rows}, len(posts)
        ),
        interactions=_interactions(rows, users, posts, kinds),
        post_texts=to_texts(_text(*facts[post][2:]) for post in posts),
        post_tokens=_csr(set(), len(posts)),
        kind_weights=tuple(weights.get(kind, 1.0) for kind in names),
        user_key_type=mapping.user_key,
        post_key_type=mapping.post_key,
        user_keys=_keys(users, mapping.user_key),
        post_keys=_keys(posts, mapping.post_key),
    )


def is_empty(tensors: GraphTensors) -> bool:
    return not tensors.num_users or not tensors.num_posts or not len(tensors.interactions)


def _numbered(keys: set[Any]) -> dict[Any, int]:
    """Key -> row; strings in the order of their bytes."""
    known: list[Any] = [key for key in keys if key is not None]
    known.sort(key=lambda key: key.encode() if isinstance(key, str) else key)
    return {key: row for row, key in enumerate(known)}


def _ids(rows: dict[Any, int]) -> Any:
    return np.array([row if isinstance(key, str) else key for key, row in rows.items()], np.int64)


def _keys(rows: dict[Any, int], key_type: KeyType) -> Any:
    return None if key_type == "integer" else to_texts(rows)


def _whole(rows: Rows) -> list[tuple[str, Any, Any, str | None, Decimal | None]]:
    """(source, user, post, kind, time) of the interactions that have both ids."""
    return [
        (name, user, post, kind, time)
        for name, found in rows.interactions.items()
        for user, post, kind, time in found
        if user is not None and post is not None
    ]


def _interactions(
    rows: Rows, users: dict[Any, int], posts: dict[Any, int], kinds: Sequence[tuple[str, str]]
) -> Interactions:
    live = sorted(
        (users[user], posts[post], _time(time), kinds.index((kind or "", name)))
        for name, user, post, kind, time in _whole(rows)
        if user in users and post in posts
    )
    user, post, time, kind = zip(*live, strict=True) if live else ((), (), (), ())
    return Interactions(
        np.array(user, np.int32), np.array(post, np.int32), np.array(kind, np.uint8), np.array(time, np.int64)
    )


def _csr(pairs: set[tuple[int, int]], num_rows: int) -> Csr:
    counts = np.zeros(num_rows + 1, np.int64)
    for row, _ in pairs:
        counts[row + 1] += 1
    return Csr(np.cumsum(counts), np.array([column for _, column in sorted(pairs)], np.int32))


def _text(title: str | None, body: str | None) -> str:
    parts = [part for part in (title, body) if part is not None]
    return "\n".join(parts)[:MAX_CHARACTERS] if any(parts) else ""


def _time(microseconds: Decimal | None) -> int:
    """The last years of Postgres' calendar are beyond int64, when they are counted from 1970."""
    return NO_TIME if microseconds is None or microseconds >= 2**63 else int(microseconds)


def bytes_of(value: Any, name: str = "tensors") -> dict[str, bytes]:
    """Every array's type, shape and bytes, every name and every number, by its place in the tensors."""
    if isinstance(value, np.ndarray):
        return {name: f"{value.dtype.str} {value.shape} ".encode() + value.tobytes()}
    if isinstance(value, Texts):
        return bytes_of(value.data, f"{name}.data") | bytes_of(value.offsets, f"{name}.offsets")
    if is_dataclass(value):
        parts = (bytes_of(getattr(value, field.name), f"{name}.{field.name}") for field in fields(value))
        return {place: body for part in parts for place, body in part.items()}
    return {name: repr(value).encode()}


def differences(one: GraphTensors, other: GraphTensors) -> list[str]:
    """Places where the two are not the same, byte for byte."""
    left, right = bytes_of(one), bytes_of(other)
    return sorted(place for place in left.keys() | right.keys() if left.get(place) != right.get(place))


def dangling(tensors: GraphTensors) -> list[str]:
    """Every way in which an edge points nowhere, stands in the wrong place or stands twice."""
    users, posts, tags = tensors.num_users, tensors.num_posts, tensors.num_tags
    rows, tagged = tensors.interactions, tensors.post_tags
    order = np.lexsort((rows.kind, rows.created_at, rows.post, rows.user))
    pairs = np.repeat(np.arange(posts), np.diff(tagged.indptr)) * max(tags, 1) + tagged.indices
    lengths = {len(column) for column in rows.columns()}
    wrong = {
        "a user of an interaction": _outside(rows.user, 0, users),
        "a post of an interaction": _outside(rows.post, 0, posts),
        "a kind of an interaction": _outside(rows.kind, 0, len(tensors.kinds)),
        "the columns of interactions": len(lengths) != 1,
        "the order of interactions": any((column != column[order]).any() for column in rows.columns()),
        "an author": _outside(tensors.post_author, NO_AUTHOR, users),
        "a tag of a post": _outside(tagged.indices, 0, tags),
        "the rows of tags": len(tagged.indptr) != posts + 1
        or tagged.indptr[0] != 0
        or (np.diff(tagged.indptr) < 0).any(),
        "the end of tags": tagged.indptr[-1] != len(tagged.indices),
        "the order of tags": (np.diff(pairs) <= 0).any(),
        "the order of users": (np.diff(tensors.user_ids) <= 0).any(),
        "the order of posts": (np.diff(tensors.post_ids) <= 0).any(),
        "the texts of posts": len(tensors.post_texts) != posts or len(tensors.post_author) != posts,
        "the names of tags": len(tensors.tag_names) != tags,
    }
    return [what for what, is_wrong in wrong.items() if is_wrong]


def _outside(values: Any, low: int, high: int) -> bool:
    return bool(((values < low) | (values >= high)).any())
