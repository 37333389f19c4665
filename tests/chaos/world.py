"""The small world of the chaos runs: 300 users with a history each, 800 posts, and requests that carry their number.

A request excludes two of the last 200 posts, which nobody has seen. User and pair name the request wherever it goes,
down to the tensors that Triton gets; ids are so large that no label, bucket or count can look like one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tests.factories import some_tensors
from waypost.graph.tensors import GraphTensors, Interactions

NUM_USERS, NUM_POSTS, NUM_SEEN = 300, 800, 600
SEEN_EACH = 5
FIRST_USER, FIRST_POST = 7_000_000_000, 5_000_000_000
FORGED_POST = 6_000_000_000  # from here on: posts that only forged replies name
HOSTILE_NUMBER = 3_000_000  # from here on: messages that the run itself put on the queue

_PAIRS = list(combinations(range(NUM_SEEN, NUM_POSTS), 2))
_PAIR_NUMBER = {pair: number for number, pair in enumerate(_PAIRS)}


@dataclass(frozen=True)
class Marks:
    """How a request shows its number."""

    user: int
    excluded: tuple[int, int]


def marks_of(number: int) -> Marks:
    low, high = _PAIRS[number // NUM_USERS]
    return Marks(FIRST_USER + number % NUM_USERS, (FIRST_POST + low, FIRST_POST + high))


def number_of(user_row: int, post_rows: Iterable[int]) -> int | None:
    """Back from rows; None where they are no request's: a golden question, for example."""
    pair = tuple(sorted({row for row in post_rows if NUM_SEEN <= row < NUM_POSTS}))
    return None if len(pair) != 2 or not 0 <= user_row < NUM_USERS else _PAIR_NUMBER[pair] * NUM_USERS + user_row


def number_of_ids(user: int, posts: Iterable[int]) -> int | None:
    """Back from the ids of a question."""
    return number_of(user - FIRST_USER, [post - FIRST_POST for post in posts])


def seen_by(user: int) -> set[int]:
    """The posts in the user's history."""
    row = user - FIRST_USER
    return {FIRST_POST + (row * 7 + turn * 97) % NUM_SEEN for turn in range(SEEN_EACH)}


def tensors() -> GraphTensors:
    users = np.repeat(np.arange(NUM_USERS), SEEN_EACH)
    posts = (users * 7 + np.tile(np.arange(SEEN_EACH), NUM_USERS) * 97) % NUM_SEEN
    order = np.lexsort((posts, users))
    interactions = Interactions(
        users[order].astype(np.int32),
        posts[order].astype(np.int32),
        np.zeros(len(users), np.uint8),
        np.arange(len(users), dtype=np.int64),
    )
    return some_tensors(
        NUM_USERS,
        NUM_POSTS,
        user_ids=FIRST_USER + np.arange(NUM_USERS, dtype=np.int64),
        post_ids=FIRST_POST + np.arange(NUM_POSTS, dtype=np.int64),
        interactions=interactions,
    )
