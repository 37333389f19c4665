"""The holdout: what the model is judged on, cut so that it could not have seen it, tonight or on a night before.

Where interactions carry times the last share of them is held out (a temporal split: yesterday predicts today), and
weights that continue from another night's are only judged on what lies past that night's boundary. A graph without
times gets a share of its pairs by a seeded hash of the user's and the post's own keys: a pair is on the same side every
night, whatever rows come and go, so what a model learned yesterday is never what judges it today. No exception is made
for a user's only pair, since any exception would move pairs from one side to the other as users grow.

A pair that is also in the training part is dropped from the holdout, since a seen post is never recommended, and a pair
counts once. Interactions of a kind without weight are never right answers and never trained on; before the cut they
still count as seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.indexing import is_among
from waypost.graph.sorting import distinct
from waypost.graph.tensors import NO_TIME, GraphTensors, Int32Array, Int64Array, Interactions, pair_key
from waypost.graph.texts import Texts
from waypost.model.kinds import teaches

TIMED_SHARE = 0.5  # with fewer timed interactions than this, "the last ones" would say little about the whole
UInt64Array = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Split:
    train: Interactions  # those before the cut that teach
    seen: Interactions  # all before the cut, kinds without weight included
    holdout_user: Int32Array  # [num_holdout] distinct (user, post) pairs, sorted by user and post
    holdout_post: Int32Array  # [num_holdout]
    boundary: int  # microseconds since the epoch: the first held-out moment; NO_TIME without times
    temporal: bool


def split(tensors: GraphTensors, share: float, seed: int, not_before: int = NO_TIME) -> Split:
    """Cut `share` of the interactions off: the last by time where times exist, else those that a hash picks.

    With times, nothing before the moment `not_before` (microseconds since the epoch) is held out, even if that leaves
    an empty holdout: it is the boundary of the weights that tonight's continue from or are compared with.
    """
    interactions, taught = tensors.interactions, teaches(tensors)
    timed = interactions.created_at != NO_TIME
    if taught.any() and timed[taught].mean() >= TIMED_SHARE:
        boundary = max(_boundary(interactions.created_at[timed & taught], share), not_before)
        held = timed & (interactions.created_at >= boundary)
        return _without_repeats(tensors, held, boundary, temporal=True)
    return _without_repeats(tensors, _picked(tensors, taught, share, seed), NO_TIME, temporal=False)


def _boundary(times: Int64Array, share: float) -> int:
    """The moment from which on about `share` of the interactions lie; equal times stay together."""
    position = min(len(times) - 1, int(len(times) * (1.0 - share)))
    return int(np.partition(times, position)[position])


def _picked(tensors: GraphTensors, taught: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """[num_interactions] of a taught pair that is held out, all interactions of that pair included."""
    interactions = tensors.interactions
    user = _key_hashes(tensors.user_ids, tensors.user_keys)[interactions.user]
    post = _key_hashes(tensors.post_ids, tensors.post_keys)[interactions.post]
    hashes = _mixed(_mixed(user + _mixed(np.array([seed], np.uint64))) + post)
    picked = hashes < np.uint64(int(share * 2.0**64))
    if taught.all():
        return picked
    pair = pair_key(interactions.user, interactions.post, tensors.num_posts)
    return picked & is_among(pair, distinct(pair[taught]))


def _key_hashes(ids: Int64Array, keys: Texts | None) -> UInt64Array:
    """[n] of the app's own keys, never of row numbers: an integer is its own, a text or UUID has a digest."""
    if keys is None:
        return ids.view(np.uint64)
    digests = b"".join(hashlib.blake2b(keys.raw(row), digest_size=8).digest() for row in range(len(keys)))
    return np.frombuffer(digests, np.dtype("<u8")).astype(np.uint64)


def _mixed(numbers: UInt64Array) -> UInt64Array:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input decides about every bit out."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


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
