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
from waypost.model.signature import Sizes
from waypost.questions import AppKey, TagFilter
from waypost.release.key_types import INTEGER_KEYS, KeyType, KeyTypes, parse_key_types
from waypost.release.text_keys import TextKeys


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
        if self.user_keys is not None:
            found = self.user_keys.rows([user])
            return int(found[0]) if len(found) else len(self.user_ids)
        if not isinstance(user, int):
            return len(self.user_ids)
        row = int(np.searchsorted(self.user_ids, user))
        return row if row < len(self.user_ids) and int(self.user_ids[row]) == user else len(self.user_ids)

    def post_rows(self, posts: Sequence[AppKey]) -> Int32Array:
        """Rows of the posts that the release knows, distinct, ascending."""
        if self.post_keys is not None:
            return self.post_keys.rows(posts)
        wanted = np.unique(np.array(posts))
        if wanted.dtype != np.int64 or not len(self.post_ids):  # no posts at all, or keys of another type
            return np.zeros(0, np.int32)
        row = np.searchsorted(self.post_ids, wanted)
        row[row == len(self.post_ids)] = 0
        known: Int32Array = row[self.post_ids[row] == wanted].astype(np.int32)
        return known

    def users_at(self, rows: NDArray[np.integer]) -> Sequence[AppKey]:
        """The app's own keys of these user rows."""
        return self.user_keys.keys(rows) if self.user_keys is not None else _integers(self.user_ids[rows])

    def posts_at(self, rows: NDArray[np.integer]) -> Sequence[AppKey]:
        """The app's own keys of these post rows."""
        return self.post_keys.keys(rows) if self.post_keys is not None else _integers(self.post_ids[rows])

    def seen_rows(self, user_row: int) -> Int32Array:
        return self.seen.row(user_row) if user_row < len(self.user_ids) else np.zeros(0, np.int32)

    def tag_rows(self, names: Iterable[str]) -> list[int]:
        """Rows of the tags with these names, compared case-insensitively; unknown names are left out."""
        return sorted({row for name in names for row in self._rows_by_name.get(name.casefold(), ())})

    def allowed_posts(self, tags: TagFilter) -> Int32Array:
        """Post rows that pass the filter, ascending."""
        allowed = np.ones(len(self.post_ids), bool)
        if tags.any:
            allowed &= np.logical_or.reduce([self._carries(name) for name in tags.any])
        for name in tags.all:
            allowed &= self._carries(name)
        for name in tags.none:
            allowed &= ~self._carries(name)
        return np.flatnonzero(allowed).astype(np.int32)

    def _carries(self, name: str) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.post_ids), bool)
        for row in self._rows_by_name.get(name.casefold(), ()):
            mask[self.tag_posts.row(row)] = True
        return mask

    @cached_property
    def _rows_by_name(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.tag_names):
            rows.setdefault(name.casefold(), []).append(row)
        return rows


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
