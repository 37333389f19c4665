"""GraphTensors: the whole graph as flat arrays, with the maps between ids (keys in Postgres) and indices (rows here).

Pure: built from a Snapshot's arrays, it knows neither Postgres nor S3 nor torch. Rows of users, posts and tags are
sorted by id, so an index orders as its id does and ties can be broken by index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NewType

import numpy as np
from numpy.typing import NDArray

from waypost.graph.sorting import distinct_of_sorted
from waypost.graph.texts import Texts

UserId = NewType("UserId", int)
PostId = NewType("PostId", int)
UserIndex = NewType("UserIndex", int)
PostIndex = NewType("PostIndex", int)

Int64Array = NDArray[np.int64]
Int32Array = NDArray[np.int32]
NO_TIME = np.iinfo(np.int64).min  # where the app gave no time
NO_AUTHOR = -1
KeyType = Literal["integer", "text", "uuid"]  # of the app's own keys; a text or uuid is a JSON string in the API


@dataclass(frozen=True, eq=False)
class Csr:
    """Compressed sparse rows: row i holds `indices[indptr[i]:indptr[i + 1]]`."""

    indptr: Int64Array  # [num_rows + 1]
    indices: Int32Array  # [num_entries]

    def row(self, index: int) -> Int32Array:
        return self.indices[self.indptr[index] : self.indptr[index + 1]]

    @property
    def num_rows(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, eq=False)
class Interactions:
    """Every interaction that was read, repeats included, sorted by user, post, time, kind."""

    user: Int32Array  # [num_interactions] UserIndex
    post: Int32Array  # [num_interactions] PostIndex
    kind: NDArray[np.uint8]  # [num_interactions] position in GraphTensors.kinds
    created_at: Int64Array  # [num_interactions] microseconds since the epoch, UTC, or NO_TIME

    def __len__(self) -> int:
        return len(self.user)

    def columns(self) -> tuple[Int32Array, Int32Array, NDArray[np.uint8], Int64Array]:
        return self.user, self.post, self.kind, self.created_at

    def take(self, rows: NDArray[Any]) -> Interactions:
        """The chosen rows, by index or mask."""
        return Interactions(self.user[rows], self.post[rows], self.kind[rows], self.created_at[rows])


@dataclass(frozen=True, eq=False)
class GraphTensors:
    """Where the app's keys are text or UUIDs, an id is the key's rank: 0, 1, … in the order of `user_keys`."""

    user_ids: Int64Array  # [num_users] ascending
    post_ids: Int64Array  # [num_posts] ascending
    tag_ids: Int64Array  # [num_tags] ascending
    tag_names: tuple[str, ...]  # [num_tags]
    kinds: tuple[str, ...]  # names of the interaction kinds, at most 256
    post_author: Int32Array  # [num_posts] UserIndex or NO_AUTHOR
    post_created_at: Int64Array  # [num_posts] microseconds since the epoch, UTC, or NO_TIME
    post_tags: Csr  # post -> tag indices, ascending in a row
    interactions: Interactions
    post_texts: Texts  # [num_posts] title, line feed, body, cut at 4,000 characters; empty without either
    post_tokens: Csr  # post -> token ids of its text, in reading order; without entries until the trainer made them
    kind_weights: tuple[float, ...]  # [num_kinds] what an interaction of that kind says about taste; a view is 1
    user_key_type: KeyType = "integer"
    post_key_type: KeyType = "integer"
    user_keys: Texts | None = None  # [num_users] ascending; None for integers, which are their own keys
    post_keys: Texts | None = None  # [num_posts] ascending

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_posts(self) -> int:
        return len(self.post_ids)

    @property
    def num_tags(self) -> int:
        return len(self.tag_ids)


def no_entries(num_rows: int) -> Csr:
    return Csr(np.zeros(num_rows + 1, np.int64), np.zeros(0, np.int32))


def csr_from_pairs(row: NDArray[Any], column: NDArray[Any], num_rows: int) -> Csr:
    """Distinct (row, column) pairs as CSR, columns ascending inside a row. Both are indices below 2^31."""
    bits = int(column.max(initial=0)).bit_length()
    return _to_csr(distinct_of_sorted(_sorted_pairs(row, column, bits)), bits, num_rows)


def transposed(csr: Csr, num_columns: int) -> Csr:
    """The same entries by column, rows ascending inside a column; equal entries stay."""
    row = np.repeat(np.arange(csr.num_rows, dtype=np.int32), np.diff(csr.indptr))
    bits = csr.num_rows.bit_length()
    return _to_csr(_sorted_pairs(csr.indices, row, bits), bits, num_columns)


def _sorted_pairs(row: NDArray[Any], column: NDArray[Any], bits: int) -> Int64Array:
    """One number a pair, the column in its lower bits: plain int64 is what numpy sorts by vector units."""
    pair = row.astype(np.int64)
    pair <<= bits
    pair |= column
    pair.sort()
    return pair


def _to_csr(pair: Int64Array, bits: int, num_rows: int) -> Csr:
    indptr = np.searchsorted(pair, np.arange(num_rows + 1, dtype=np.int64) << bits)
    column = pair.astype(np.int32)  # the lower half, in which the column is
    column &= (1 << bits) - 1
    return Csr(indptr, column)


def pair_key(user: NDArray[Any], post: NDArray[Any], num_posts: int) -> Int64Array:
    """One number per (user, post) pair, ascending by user, then post: `user · num_posts + post`."""
    key = user.astype(np.int64)
    key *= max(num_posts, 1)
    key += post
    return key
