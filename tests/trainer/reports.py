"""Holdout reports for the tests of what is made of them, each with one visible difference: `a_report(gain=-0.1)`.

Every user has one held-out post of each sort: new, head and tail. A ranker of quality q has each of them in its list
with probability q; the rest of a list is made of posts that nobody asked for. All rankers toss the same coins, so that
the better one has every hit of the worse one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from waypost.graph.tensors import Int32Array, csr_from_pairs, no_entries
from waypost.trainer.baselines import POPULARITY
from waypost.trainer.holdout import MODEL, SERVED, Holdout, HoldoutReport, K, Ranking
from waypost.trainer.leak import LeakProbe
from waypost.trainer.segments import ALL, HEAD, NEW_POSTS, NEW_USERS, TAIL, WARM, Segment

SORTS = (NEW_POSTS, HEAD, TAIL)
POSTS_OF_A_SORT = 200
POSTS = POSTS_OF_A_SORT * (len(SORTS) + 1)  # the last ones are nobody's right answers
NEWCOMERS = 0.25  # share of the users
POPULAR = 0.3  # quality of popularity
Below = float | Mapping[str, float]  # everywhere, or by sort of posts


def a_report(
    users: int = 400, gain: float = 0.2, served: Below | None = None, seed: int = 0, **changes: Any
) -> HoldoutReport:
    """A healthy model, `gain` better than popularity and `served` better than the served one."""
    asked = a_holdout(users, seed)
    coins = np.random.default_rng(seed + 1).random((users, len(SORTS)))
    own = POPULAR + gain
    rankings = {
        MODEL: replace(asked.judge(_lists(asked, coins, own)), coverage=0.6),
        POPULARITY: replace(asked.judge(_lists(asked, coins, POPULAR)), coverage=0.05),
    }
    if served is not None:
        gains = served if isinstance(served, Mapping) else dict.fromkeys(SORTS, served)
        quality = [own - gains.get(sort, 0.0) for sort in SORTS]
        rankings[SERVED] = replace(asked.judge(_lists(asked, coins, quality)), coverage=0.6)
    report = HoldoutReport(
        asked=asked,
        users=asked.users,
        judged=asked.judged(),
        rankings=rankings,
        leak=LeakProbe(np.full(users, 0.98), np.full(users, 0.80)),
        finite=True,
        spread=0.8,
        same_list_share=0.01,
        temporal=True,
        num_posts=POSTS,
    )
    return replace(report, **changes)


def a_holdout(users: int, seed: int) -> Holdout:
    everybody = np.arange(users, dtype=np.int32)
    known = everybody >= int(users * NEWCOMERS)
    sort = np.repeat(np.arange(len(SORTS) + 1), POSTS_OF_A_SORT)
    any_user, any_post = np.ones(users, bool), np.ones(POSTS, bool)
    drawn = np.random.default_rng(seed).integers(0, POSTS_OF_A_SORT, (users, len(SORTS)))
    answers = drawn + np.arange(len(SORTS)) * POSTS_OF_A_SORT
    return Holdout(
        users=everybody,
        seen=no_entries(users),
        test=csr_from_pairs(np.repeat(everybody, len(SORTS)), answers.ravel(), users),
        segments=(
            Segment(ALL, any_user, any_post),
            Segment(WARM, known, sort > 0),
            Segment(NEW_USERS, ~known, any_post),
            *(Segment(name, any_user, sort == number) for number, name in enumerate(SORTS)),
        ),
        popularity=np.ones(POSTS, np.int64),
    )


def _lists(asked: Holdout, coins: np.ndarray, quality: Any) -> Int32Array:
    """[num_users, K]; lists of different users differ."""
    users = len(asked.users)
    others = POSTS - POSTS_OF_A_SORT + (np.arange(users)[:, None] * 7 + np.arange(K)) % POSTS_OF_A_SORT
    lists = others.astype(np.int32)
    answers = asked.test.indices.reshape(users, len(SORTS))
    lists[:, : len(SORTS)] = np.where(coins < quality, answers, lists[:, : len(SORTS)])
    return lists


def with_ranking(report: HoldoutReport, name: str, **changes: Any) -> HoldoutReport:
    """The same where a ranking says something else of itself, or has other lists and what they are worth."""
    ranking: Ranking = report.rankings[name]
    if "lists" in changes:
        ranking = replace(report.asked.judge(changes["lists"]), coverage=ranking.coverage)
    return replace(report, rankings={**report.rankings, name: replace(ranking, **changes)})
