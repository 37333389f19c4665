"""GraphTensors: the whole graph as flat arrays, with the maps between ids (keys in Postgres) and indices (rows here).

Pure: built from a Snapshot's arrays, it knows neither Postgres nor S3 nor torch. Rows of users, posts and tags are
sorted by id, so an index orders as its id does and ties can be broken by index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

UserId = NewType("UserId", int)
PostId = NewType("PostId", int)
UserIndex = NewType("UserIndex", int)
PostIndex = NewType("PostIndex", int)

Int64Array = NDArray[np.int64]
Int32Array = NDArray[np.int32]
NO_TIME = np.iinfo(np.int64).min  # where the app gave no time
NO_AUTHOR = -1


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

    def take(self, rows: NDArray[Any]) -> Interactions:
        """The chosen rows, by index or mask."""
        return Interactions(self.user[rows], self.post[rows], self.kind[rows], self.created_at[rows])


@dataclass(frozen=True, eq=False)
class GraphTensors:
    user_ids: Int64Array  # [num_users] ascending
    post_ids: Int64Array  # [num_posts] ascending
    tag_ids: Int64Array  # [num_tags] ascending
    tag_names: tuple[str, ...]  # [num_tags]
    kinds: tuple[str, ...]  # names of the interaction kinds, at most 256
    post_author: Int32Array  # [num_posts] UserIndex or NO_AUTHOR
    post_created_at: Int64Array  # [num_posts] microseconds since the epoch, UTC, or NO_TIME
    post_tags: Csr  # post -> tag indices, ascending in a row
    post_tokens: Csr  # post -> token ids of title and body, in reading order, cut at MAX_TOKENS
    interactions: Interactions

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_posts(self) -> int:
        return len(self.post_ids)

    @property
    def num_tags(self) -> int:
        return len(self.tag_ids)


def csr_from_pairs(row: NDArray[Any], column: NDArray[Any], num_rows: int) -> Csr:
    """Distinct (row, column) pairs as CSR, columns ascending inside a row."""
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    first = np.ones(len(row), bool)
    first[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(row[first], minlength=num_rows), out=indptr[1:])
    return Csr(indptr, column[first].astype(np.int32))


def pair_key(user: NDArray[Any], post: NDArray[Any], num_posts: int) -> Int64Array:
    """One number per (user, post) pair, ascending by user, then post: `user · num_posts + post`."""
    key: Int64Array = user.astype(np.int64) * max(num_posts, 1) + post
    return key
