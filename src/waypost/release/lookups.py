"""Lookups: what stands between the app's keys and the model's rows, as arrays that a worker holds in memory.

The app's keys to rows, rows to keys, what each user has seen, which posts carry a tag, posts by popularity. Pure; the
bytes come from a verified release."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from waypost.errors import CorruptObject
from waypost.graph.tensors import Csr, Int32Array, Int64Array
from waypost.graph.texts import Texts
from waypost.key_types import INTEGER_KEYS, KeyType, KeyTypes, parse_key_types
from waypost.model.signature import Sizes
from waypost.questions import AppKey
from waypost.release.text_keys import TextKeys

NO_ROWS: Int32Array = np.zeros(0, np.int32)
SORTED_FROM = 64  # keys; fewer are looked for as they come


@dataclass(frozen=True, eq=False)
class Lookups:
    user_ids: Int64Array  # [num_users] ascending; 0, 1, … where the app's keys are strings
    post_ids: Int64Array  # [num_posts] ascending; likewise
    tag_names: tuple[str, ...]  # [num_tags]
    num_tokens: int
    user_has_state: NDArray[np.bool_]  # [num_users] whether the model knows anything of the user
    seen: Csr  # user -> post rows of his own interactions, ascending
    tag_posts: Csr  # tag -> post rows, ascending
    popular_posts: Int32Array  # [num_posts] post rows, most popular first, ties by ascending id
    popularity: NDArray[np.float32]  # [num_posts] score of each post row
    key_types: KeyTypes = INTEGER_KEYS
    user_keys: TextKeys | None = None  # [num_users] where the users' keys are strings, ascending
    post_keys: TextKeys | None = None  # [num_posts] likewise

    @property
    def sizes(self) -> Sizes:
        return Sizes(len(self.user_ids), len(self.post_ids), len(self.tag_names), self.num_tokens)

    def user_row(self, user: AppKey) -> int:
        """The user's row; num_users for one the release does not know."""
        return self.user_rows([user])[0]

    def user_rows(self, users: Sequence[AppKey]) -> list[int]:
        """The row of each user; num_users for one the release does not know."""
        nobody = len(self.user_ids)
        if self.user_keys is not None:
            found = [self.user_keys.rows([user]) for user in users]
            return [int(rows[0]) if len(rows) else nobody for rows in found]
        wanted = np.array(users)
        if wanted.dtype != np.int64:  # somebody's key is of another type; the others must not suffer
            return [self.user_row(user) if isinstance(user, int) else nobody for user in users]
        row = np.searchsorted(self.user_ids, wanted)
        known = self.user_ids.take(row, mode="clip") == wanted if nobody else np.zeros(len(wanted), bool)
        rows: list[int] = np.where(known, row, nobody).tolist()
        return rows

    def post_rows(self, posts: Sequence[AppKey]) -> Int32Array:
        """Rows of the posts that the release knows, distinct, ascending."""
        return distinct(self.known_posts(posts))

    def known_posts(self, posts: Sequence[AppKey]) -> Int32Array:
        """Rows of the posts that the release knows, repeats included, in no order."""
        if not len(posts) or not len(self.post_ids):
            return NO_ROWS
        if self.post_keys is not None:
            return self.post_keys.rows(posts)
        wanted = np.array(posts)
        if wanted.dtype != np.int64:  # keys of another type
            return NO_ROWS
        if len(wanted) > SORTED_FROM:
            wanted.sort()  # neighbours in the order of the search find their way through the cache
        row = np.searchsorted(self.post_ids, wanted)
        known: Int32Array = row[self.post_ids.take(row, mode="clip") == wanted].astype(np.int32)
        return known

    def users_at(self, rows: NDArray[np.integer]) -> Sequence[AppKey]:
        """The app's own keys of these user rows."""
        return self.user_keys.keys(rows) if self.user_keys is not None else _integers(self.user_ids[rows])

    def posts_at(self, rows: NDArray[np.integer]) -> Sequence[AppKey]:
        """The app's own keys of these post rows."""
        return self.post_keys.keys(rows) if self.post_keys is not None else _integers(self.post_ids[rows])

    def seen_rows(self, user_row: int) -> Int32Array:
        return self.seen.row(user_row) if user_row < len(self.user_ids) else NO_ROWS

    def tag_rows(self, names: Iterable[str]) -> list[int]:
        """Rows of the tags with these names, compared case-insensitively; unknown names are left out."""
        return sorted({row for name in names for row in self._rows_by_name.get(name.casefold(), ())})

    def posts_with_any(self, names: Sequence[str]) -> Int32Array:
        """Rows of the posts that carry at least one of these tags, distinct, ascending."""
        carried = [self.tag_posts.row(tag) for tag in self.tag_rows(names)]
        if len(carried) <= 1:
            return carried[0] if carried else NO_ROWS
        union = np.zeros(len(self.post_ids), bool)
        for posts in carried:
            union[posts] = True
        return np.flatnonzero(union).astype(np.int32)

    def posts_with_all(self, names: Sequence[str]) -> Int32Array:
        """Rows of the posts that carry every one of these tags, distinct, ascending."""
        rarest, *others = sorted((self.posts_with_any([name]) for name in names), key=len)
        for posts in others:
            rarest = within(rarest, posts)
        return rarest

    @cached_property
    def _rows_by_name(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.tag_names):
            rows.setdefault(name.casefold(), []).append(row)
        return rows


def distinct(rows: Int32Array) -> Int32Array:
    """Each once, ascending."""
    if len(rows) <= 1:
        return rows
    ascending = np.sort(rows)
    once: Int32Array = ascending[np.append(True, ascending[1:] != ascending[:-1])]
    return once


def within(rows: Int32Array, sorted_rows: Int32Array) -> Int32Array:
    """Those that are among the others, which ascend, in their order."""
    return rows[_are_among(rows, sorted_rows)]


def without(rows: Int32Array, sorted_rows: Int32Array) -> Int32Array:
    """Those that are not among the others, which ascend, in their order."""
    return rows[~_are_among(rows, sorted_rows)] if len(sorted_rows) else rows


def _are_among(rows: Int32Array, sorted_rows: Int32Array) -> NDArray[np.bool_]:
    """A search for each: np.isin would sort both, or fill a table as long as the largest row."""
    if not len(sorted_rows):
        return np.zeros(len(rows), bool)
    found: NDArray[np.bool_] = sorted_rows.take(np.searchsorted(sorted_rows, rows), mode="clip") == rows
    return found


def _integers(ids: Int64Array) -> list[int]:
    found: list[int] = ids.tolist()
    return found


def to_bytes(lookups: Lookups) -> bytes:
    """One safetensors file."""
    content = {"tags": lookups.tag_names, "num_tokens": lookups.num_tokens, "keys": lookups.key_types._asdict()}
    words = json.dumps(content).encode()
    body: bytes = safetensors.save(
        {
            "user_ids": lookups.user_ids,
            "post_ids": lookups.post_ids,
            "user_has_state": lookups.user_has_state.astype(np.uint8),
            "seen.indptr": lookups.seen.indptr,
            "seen.indices": lookups.seen.indices,
            "tag_posts.indptr": lookups.tag_posts.indptr,
            "tag_posts.indices": lookups.tag_posts.indices,
            "popular_posts": lookups.popular_posts,
            "popularity": lookups.popularity,
            "words": np.frombuffer(words, np.uint8),
            **_key_arrays("user_keys", lookups.user_keys),
            **_key_arrays("post_keys", lookups.post_keys),
        }
    )
    return body


def from_bytes(body: bytes) -> Lookups:
    """The inverse of to_bytes. Raises CorruptObject."""
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.load(body)
        words = json.loads(arrays["words"].tobytes())
        types = parse_key_types(words.get("keys"))
        return Lookups(
            user_ids=arrays["user_ids"],
            post_ids=arrays["post_ids"],
            tag_names=tuple(words["tags"]),
            num_tokens=int(words["num_tokens"]),
            user_has_state=arrays["user_has_state"].astype(bool),
            seen=Csr(arrays["seen.indptr"], arrays["seen.indices"]),
            tag_posts=Csr(arrays["tag_posts.indptr"], arrays["tag_posts.indices"]),
            popular_posts=arrays["popular_posts"],
            popularity=arrays["popularity"],
            key_types=types,
            user_keys=_keys(arrays, "user_keys", types.user, len(arrays["user_ids"])),
            post_keys=_keys(arrays, "post_keys", types.post, len(arrays["post_ids"])),
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptObject(f"not the lookups of a release: {type(error).__name__}") from None


def _key_arrays(name: str, keys: TextKeys | None) -> dict[str, NDArray[Any]]:
    return {} if keys is None else {f"{name}.data": keys.texts.data, f"{name}.offsets": keys.texts.offsets}


def _keys(arrays: Mapping[str, NDArray[Any]], name: str, key_type: KeyType, rows: int) -> TextKeys | None:
    """Raises KeyError or ValueError when there is not one for each row."""
    if key_type == "integer":
        return None
    texts = Texts(arrays[f"{name}.data"], arrays[f"{name}.offsets"])
    if len(texts) != rows:
        raise ValueError(f"{name} has {len(texts)} keys for {rows} rows")
    return TextKeys(texts)
