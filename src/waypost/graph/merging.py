"""The order of interactions, by user, post, time, kind: of all rows, or of a few fresh ones among sorted ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.sorting import order_of, order_of_pairs
from waypost.graph.tensors import Int64Array, Interactions, pair_key


def joined_interactions(pieces: Sequence[Interactions]) -> Interactions:
    """One after the other."""
    filled = [piece for piece in pieces if len(piece)]
    if len(filled) == 1:
        return filled[0]
    return Interactions(
        np.concatenate([piece.user for piece in pieces]),
        np.concatenate([piece.post for piece in pieces]),
        np.concatenate([piece.kind for piece in pieces]),
        np.concatenate([piece.created_at for piece in pieces]),
    )


def sorted_interactions(rows: Interactions, num_posts: int) -> Interactions:
    """In order: by pair first, and then only the pairs whose rows are not in order of time and kind already.

    Apps append in order of time, so there are few such pairs, and every column is copied once.
    """
    rows = rows.take(order_of_pairs(rows.user, rows.post, num_posts))
    time, kind = rows.created_at, rows.kind
    same = (rows.user[1:] == rows.user[:-1]) & (rows.post[1:] == rows.post[:-1])
    falls = (time[1:] < time[:-1]) | ((time[1:] == time[:-1]) & (kind[1:] < kind[:-1]))
    falls &= same
    if falls.any():
        run = np.concatenate(
            ([0], np.cumsum(~same, dtype=np.int32)), dtype=np.int32
        )  # rows of one pair have one number
        unsorted = np.zeros(int(run[-1]) + 1, bool)
        unsorted[run[1:][falls]] = True
        _sort_stretches(rows, np.flatnonzero(unsorted[run]), num_posts)
    return rows


def merged(sorted_rows: Interactions, fresh: Interactions, num_posts: int) -> Interactions:
    """Both, in order; for few fresh rows. Each column is copied once: new memory costs more than the arithmetic.

    Fresh rows go behind those of the same pair; then only the pairs that had rows before are sorted among themselves.
    """
    fresh = sorted_interactions(fresh, num_posts)
    known = pair_key(sorted_rows.user, sorted_rows.post, num_posts)
    keys = pair_key(fresh.user, fresh.post, num_posts)
    begin, end = np.searchsorted(known, keys, "left"), np.searchsorted(known, keys, "right")
    place = end + np.arange(len(keys))
    is_old = np.ones(len(known) + len(keys), bool)
    is_old[place] = False
    both = Interactions(
        _laid_out(sorted_rows.user, fresh.user, is_old, place),
        _laid_out(sorted_rows.post, fresh.post, is_old, place),
        _laid_out(sorted_rows.kind, fresh.kind, is_old, place),
        _laid_out(sorted_rows.created_at, fresh.created_at, is_old, place),
    )
    met = begin < end
    if met.any():
        _sort_stretches(both, _stretches(begin[met], place[met], end[met]), num_posts)
    return both


def _laid_out(old: NDArray[Any], fresh: NDArray[Any], is_old: NDArray[np.bool_], place: Int64Array) -> NDArray[Any]:
    column = np.empty(len(is_old), old.dtype)
    column[is_old] = old
    column[place] = fresh
    return column


def _stretches(begin: Int64Array, place: Int64Array, end: Int64Array) -> Int64Array:
    """Rows of the pairs that have both: the old ones stood in begin…end, the fresh one of each stands in place."""
    shift = place - end  # fresh rows before this one, which is also how far its old rows have moved
    first_of_pair = np.ones(len(begin), bool)
    first_of_pair[1:] = begin[1:] != begin[:-1]
    starts, counts = (begin + shift)[first_of_pair], (end - begin)[first_of_pair]
    old = np.repeat(starts - np.concatenate(([0], np.cumsum(counts)[:-1])), counts) + np.arange(counts.sum())
    return np.sort(np.concatenate([old, place]))


def _sort_stretches(rows: Interactions, stretch: Int64Array, num_posts: int) -> None:
    """In place, by the least of the four columns first."""
    met = rows.take(stretch)
    order = order_of(met.kind.astype(np.int64))
    order = order[order_of(met.created_at[order])]
    met = met.take(order[order_of_pairs(met.user[order], met.post[order], num_posts)])
    rows.user[stretch], rows.post[stretch] = met.user, met.post
    rows.kind[stretch], rows.created_at[stretch] = met.kind, met.created_at
