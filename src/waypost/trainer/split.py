"""The holdout: what the model is judged on, cut so that it could not have seen it.

Where interactions carry times the last share of them is held out (a temporal split: yesterday predicts today); a
graph without times gets a random share per user. A pair that is also in the training part is dropped from the
holdout, since a seen post is never recommended, and a pair counts once. Interactions of a kind without weight are
never right answers and never trained on; before the cut they still count as seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.indexing import is_among
from waypost.graph.sorting import distinct
from waypost.graph.tensors import NO_TIME, GraphTensors, Int32Array, Int64Array, Interactions, pair_key
from waypost.model.kinds import teaches

TIMED_SHARE = 0.5  # with fewer timed interactions than this, "the last ones" would say little about the whole


@dataclass(frozen=True, eq=False)
class Split:
    train: Interactions  # those before the cut that teach
    seen: Interactions  # all before the cut, kinds without weight included
    holdout_user: Int32Array  # [num_holdout] distinct (user, post) pairs, sorted by user and post
    holdout_post: Int32Array  # [num_holdout]
    boundary: int  # microseconds since the epoch: the first held-out moment; NO_TIME for a random split
    temporal: bool


def split(tensors: GraphTensors, share: float, seed: int) -> Split:
    """Cut `share` of the interactions off: the last by time where times exist, else a random part of every user."""
    interactions, taught = tensors.interactions, teaches(tensors)
    timed = interactions.created_at != NO_TIME
    if taught.any() and timed[taught].mean() >= TIMED_SHARE:
        boundary = _boundary(interactions.created_at[timed & taught], share)
        held = timed & (interactions.created_at >= boundary)
        return _without_repeats(tensors, held, boundary, temporal=True)
    held = _random_per_user(interactions, taught, tensors.num_posts, share, seed)
    return _without_repeats(tensors, held, NO_TIME, temporal=False)


def _boundary(times: Int64Array, share: float) -> int:
    """The moment from which on about `share` of the interactions lie; equal times stay together."""
    position = min(len(times) - 1, int(len(times) * (1.0 - share)))
    return int(np.partition(times, position)[position])


def _random_per_user(
    interactions: Interactions, taught: NDArray[np.bool_], num_posts: int, share: float, seed: int
) -> NDArray[np.bool_]:
    """Hold out floor(share · distinct posts + a coin toss of the rest) taught pairs of each user, not the only one."""
    pair = pair_key(interactions.user, interactions.post, num_posts)
    keys = distinct(pair[taught])
    user = keys // max(num_posts, 1)
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(keys)), user))
    first = np.searchsorted(user, user)  # keys are sorted by user
    count = np.bincount(user, minlength=int(user.max(initial=-1)) + 1)[user]
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys)) - first[order]
    quota = np.minimum(np.floor(share * count + generator.random(int(user.max(initial=-1)) + 1)[user]), count - 1)
    return is_among(pair, keys[rank < quota])


def _without_repeats(tensors: GraphTensors, held: NDArray[np.bool_], boundary: int, *, temporal: bool) -> Split:
    interactions, num_posts, taught = tensors.interactions, tensors.num_posts, teaches(tensors)
    pair = pair_key(interactions.user, interactions.post, num_posts)
    asked = distinct(pair[held & taught])
    fresh = asked[~is_among(asked, distinct(pair[~held]))]
    seen = interactions.take(~held)
    return Split(
        train=seen if taught.all() else interactions.take(~held & taught),
        seen=seen,
        holdout_user=(fresh // max(num_posts, 1)).astype(np.int32),
        holdout_post=(fresh % max(num_posts, 1)).astype(np.int32),
        boundary=boundary,
        temporal=temporal,
    )
