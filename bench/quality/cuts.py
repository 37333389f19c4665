"""How the data is cut into what a night may see and what its lists are judged on. Pure; the same seed, the same cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.graph_files import NULL, GraphFiles, Row

Pair = tuple[str, str]  # user id, post id


@dataclass(frozen=True)
class Cut:
    """`test` holds each pair once, and none that is in `train`; both sorted by nothing but the files' order."""

    train: Sequence[Row]  # interactions
    test: Sequence[Pair]


def cut_random_per_user(interactions: Sequence[Row], share: float, seed: int) -> Cut:
    """round(share · distinct posts) of every user's, never all of them."""
    posts_of: dict[str, dict[str, None]] = defaultdict(dict)
    for row in interactions:
        posts_of[row[0]][row[1]] = None
    generator = np.random.default_rng(seed)
    held: set[Pair] = set()
    for user in sorted(posts_of):
        posts = sorted(posts_of[user])
        count = min(round(share * len(posts)), len(posts) - 1)
        held.update((user, posts[row]) for row in generator.choice(len(posts), count, replace=False))
    train = [row for row in interactions if (row[0], row[1]) not in held]
    return Cut(train, _distinct(row for row in interactions if (row[0], row[1]) in held))


def cut_by_time(interactions: Sequence[Row], boundary: str) -> Cut:
    """What came from `boundary` on is held out; times compare as text, as ISO 8601 does. No time: before."""
    train = [row for row in interactions if row[3] == NULL or row[3] < boundary]
    known = pairs_of(train)
    held = _distinct(row for row in interactions if row[3] != NULL and row[3] >= boundary)
    return Cut(train, [pair for pair in held if pair not in known])


def pairs_of(interactions: Iterable[Row]) -> set[Pair]:
    return {(row[0], row[1]) for row in interactions}


def authored(posts: Iterable[Row]) -> set[Pair]:
    """(author, post): what nobody needs recommended."""
    return {(row[1], row[0]) for row in posts if row[1] != NULL}


def among(pairs: Iterable[Pair], users: Collection[str], posts: Collection[str]) -> list[Pair]:
    return [(user, post) for user, post in pairs if user in users and post in posts]


def by_user(pairs: Iterable[Pair]) -> Mapping[str, list[str]]:
    posts: dict[str, list[str]] = defaultdict(list)
    for user, post in pairs:
        posts[user].append(post)
    return posts


def held_back(interactions: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(all but a random `share` of the rows, that share): yesterday's graph, and what the day has added."""
    later = np.random.default_rng(seed).random(len(interactions)) < share
    before = [row for row, is_later in zip(interactions, later, strict=True) if not is_later]
    return before, [row for row, is_later in zip(interactions, later, strict=True) if is_later]


def written_by(files: GraphFiles, boundary: str) -> GraphFiles:
    """Posts that were written later stand there as if written at the boundary: the night is at that moment."""
    posts = [(*row[:2], boundary, *row[3:]) if row[2] != NULL and row[2] > boundary else row for row in files.posts]
    return replace(files, posts=posts)


def without_tags(files: GraphFiles) -> GraphFiles:
    return replace(files, tags=(), post_tags=())


def without_text(files: GraphFiles) -> GraphFiles:
    """Title and body NULL."""
    return replace(files, posts=[(*row[:3], NULL, NULL) for row in files.posts])


def _distinct(rows: Iterable[Row]) -> list[Pair]:
    return list(dict.fromkeys((row[0], row[1]) for row in rows))
