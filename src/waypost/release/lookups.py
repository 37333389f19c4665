"""Lookups: what stands between app ids and the model's rows, as arrays that a worker holds in memory.

Ids to rows, rows to ids, what each user has seen, which posts carry a tag, posts by popularity. Pure; the bytes come
from a verified release."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from waypost.errors import CorruptObject
from waypost.graph.tensors import Csr, Int32Array, Int64Array
from waypost.model.signature import Sizes
from waypost.questions import TagFilter


@dataclass(frozen=True, eq=False)
class Lookups:
    user_ids: Int64Array  # [num_users] ascending
    post_ids: Int64Array  # [num_posts] ascending
    tag_names: tuple[str, ...]  # [num_tags]
    num_tokens: int
    user_has_state: NDArray[np.bool_]  # [num_users] whether the model knows anything of the user
    seen: Csr  # user -> post rows of his own interactions, ascending
    tag_posts: Csr  # tag -> post rows, ascending
    popular_posts: Int32Array  # [num_posts] post rows, most popular first, ties by ascending id
    popularity: NDArray[np.float32]  # [num_posts] score of each post row

    @property
    def sizes(self) -> Sizes:
        return Sizes(len(self.user_ids), len(self.post_ids), len(self.tag_names), self.num_tokens)

    def user_row(self, user_id: int) -> int:
        """The user's row; num_users for one the release does not know."""
        row = int(np.searchsorted(self.user_ids, user_id))
        return row if row < len(self.user_ids) and int(self.user_ids[row]) == user_id else len(self.user_ids)

    def post_rows(self, post_ids: Sequence[int]) -> Int32Array:
        """Rows of the posts that the release knows, distinct, ascending."""
        wanted = np.unique(np.array(post_ids, np.int64))
        row = np.searchsorted(self.post_ids, wanted)
        row[row == len(self.post_ids)] = 0
        return row[self.post_ids[row] == wanted].astype(np.int32) if len(self.post_ids) else row.astype(np.int32)

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


def to_bytes(lookups: Lookups) -> bytes:
    """One safetensors file."""
    words = json.dumps({"tags": lookups.tag_names, "num_tokens": lookups.num_tokens}).encode()
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
        }
    )
    return body


def from_bytes(body: bytes) -> Lookups:
    """The inverse of to_bytes. Raises CorruptObject."""
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.load(body)
        words = json.loads(arrays["words"].tobytes())
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
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptObject(f"not the lookups of a release: {type(error).__name__}") from None
