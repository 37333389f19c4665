"""Sample lists for people to look at: what some users had, what they get, and what of it they came to read.

Users are numbered 1, 2, … in the order they were drawn; no id leaves this module. Drawn by seed and not by how well
their lists turned out, so that a page of samples is no shop window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from waypost.graph.tensors import GraphTensors, csr_from_pairs
from waypost.trainer.holdout import HoldoutReport
from waypost.trainer.segments import NEW_USERS
from waypost.trainer.split import Split

SAMPLE_USERS = 6
SHOWN_POSTS = 10  # of what a user had, the last ones; and of his list, the first ones
TITLE_CHARACTERS = 100


@dataclass(frozen=True)
class Recommended:
    title: str
    is_hit: bool  # the user came to read it after the cut


@dataclass(frozen=True)
class Sample:
    had: tuple[str, ...]  # titles of the training part, the latest last
    had_count: int
    got: tuple[Recommended, ...]
    right_answers: int  # how many held-out posts there were to hit


def draw_samples(tensors: GraphTensors, cut: Split, report: HoldoutReport, seed: int) -> tuple[Sample, ...]:
    """At most SAMPLE_USERS of the judged users whom the model knew, and of the others if there are no such."""
    known = np.flatnonzero(~np.isin(report.users, report.judged[NEW_USERS]))
    positions = known if len(known) else np.arange(len(report.users))
    chosen = np.random.default_rng(seed).permutation(positions)[:SAMPLE_USERS]
    test = csr_from_pairs(cut.holdout_user, cut.holdout_post, tensors.num_users)
    samples = []
    for position in chosen.tolist():
        user = int(report.users[position])
        had = _had(cut, user)
        shown = report.lists[position][:SHOWN_POSTS]
        got = [
            Recommended(title_of(tensors, post), bool(post in test.row(user))) for post in shown[shown >= 0].tolist()
        ]
        titles = tuple(title_of(tensors, post) for post in had[-SHOWN_POSTS:])
        samples.append(Sample(titles, len(had), tuple(got), len(test.row(user))))
    return tuple(samples)


def _had(cut: Split, user: int) -> list[int]:
    """His distinct posts in the training part, by their last interaction."""
    rows = np.flatnonzero(cut.train.user == user)
    rows = rows[np.argsort(cut.train.created_at[rows], kind="stable")]
    return list(dict.fromkeys(cut.train.post[rows][::-1].tolist()))[::-1]


def title_of(tensors: GraphTensors, post: int) -> str:
    """The first line of its text, cut; its id where it has none."""
    title = next((line.strip() for line in tensors.post_texts[post].splitlines() if line.strip()), "")
    if not title:
        return f"post {tensors.post_ids[post] if tensors.post_keys is None else tensors.post_keys[post]}"
    return title if len(title) <= TITLE_CHARACTERS else title[: TITLE_CHARACTERS - 1] + "…"
