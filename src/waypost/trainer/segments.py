"""Segments: the parts of a holdout that are judged apart, since a good mean can hide that newcomers get nothing.

A segment is a mask of users and a mask of posts. A user's test set is cut to the posts of the mask, and users with
nothing left are not in the segment. His list is the one that ranks every post: a segment never changes what is
recommended, only what counts as a right answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Csr, GraphTensors, Int32Array, Int64Array, Interactions, csr_from_pairs
from waypost.model.evaluation import Scores, score_lists

BoolArray = NDArray[np.bool_]
ALL, WARM, NEW_USERS, NEW_POSTS, HEAD, TAIL = "all", "warm", "new-users", "new-posts", "head", "tail"
HEAD_SHARE = 0.5  # of the training pairs are with posts of the head


@dataclass(frozen=True, eq=False)
class Segment:
    name: str
    users: BoolArray  # [num_users]
    posts: BoolArray  # [num_posts]


@dataclass(frozen=True, eq=False)
class SegmentScores:
    """Of one ranker; for one holdout, `users` are the same whoever ranked, so that two rankers compare in pairs."""

    users: Int32Array  # [num_judged] ascending
    scores: Scores  # [num_judged]


def segments_of(tensors: GraphTensors, train: Interactions) -> tuple[Segment, ...]:
    """`all` first. Warm and new go by the distinct pairs of `train`; head and tail part the posts that have any."""
    pairs = csr_from_pairs(train.user, train.post, tensors.num_users)
    popularity = np.bincount(pairs.indices, minlength=tensors.num_posts)
    any_user, any_post = np.ones(tensors.num_users, bool), np.ones(tensors.num_posts, bool)
    known_user, known_post = np.diff(pairs.indptr) > 0, popularity > 0
    head = most_interacted(popularity, HEAD_SHARE)
    return (
        Segment(ALL, any_user, any_post),
        Segment(WARM, known_user, known_post),
        Segment(NEW_USERS, ~known_user, any_post),
        Segment(NEW_POSTS, any_user, ~known_post),
        Segment(HEAD, any_user, head),
        Segment(TAIL, any_user, known_post & ~head),
    )


def most_interacted(popularity: Int64Array, share: float) -> BoolArray:
    """[num_posts] the fewest posts that together hold `share` of all pairs; of equal ones those that come first."""
    order = np.argsort(-popularity, kind="stable")
    held = np.cumsum(popularity[order])
    count = int(np.searchsorted(held, share * held[-1])) + 1 if len(held) and held[-1] else 0
    head = np.zeros(len(popularity), bool)
    head[order[:count]] = True
    return head


def score_segment(lists: Int32Array, users: Int32Array, test: Csr, segment: Segment) -> SegmentScores:
    """Judge the lists [num_users, k] of `users` (their rows in the graph) on the segment's part of `test`."""
    part = within(test, segment)
    judged = np.flatnonzero(np.diff(part.indptr)[users])
    return SegmentScores(users[judged], score_lists(lists[judged], users[judged], part))


def users_in(users: Int32Array, test: Csr, segment: Segment) -> Int32Array:
    """Those of `users` who are judged in the segment."""
    return users[np.diff(within(test, segment).indptr)[users] > 0]


def within(test: Csr, segment: Segment) -> Csr:
    """The pairs of `test` whose user and post are both the segment's."""
    user = np.repeat(np.arange(test.num_rows), np.diff(test.indptr))
    stays = segment.users[user] & segment.posts[test.indices]
    return csr_from_pairs(user[stays], test.indices[stays], test.num_rows)
