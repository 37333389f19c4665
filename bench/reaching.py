"""Seconds of training until a given NDCG@20 on pairs held out of the training; judging them stops the clock.

A judgement is due whenever training has gone on by a tenth, so what is told is at most a tenth too long, for every
ranker alike. Preparation (graph, spectral start, matrices) is training too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.graph_files import GraphFiles, to_tensors
from bench.progress import say
from bench.quality.cuts import Cut
from waypost.graph.tensors import Csr, GraphTensors, Interactions, csr_from_pairs
from waypost.model.evaluation import ScoreUsers, choose_users, rank_posts, score_lists

Measure = Literal["ndcg", "recall"]
K = 20
JUDGED_USERS = 2_000
FIRST_SECONDS, GROWTH = 0.5, 1.1  # the first judgement, and then after so many times the training
SEED = 1


@dataclass(frozen=True, eq=False)
class Task:
    """What every ranker gets, and what it is judged on."""

    tensors: GraphTensors
    train: Interactions
    seen: Csr  # user -> posts of the training part
    test: Csr  # user -> posts held out
    target: float
    stop_seconds: float  # of training
    measure: Measure = "ndcg"  # at 20, that has to reach the target
    users: int = JUDGED_USERS  # of the test, at most

    @classmethod
    def of(cls, files: GraphFiles, cut: Cut, target: float, stop_seconds: float, measure: Measure = "ndcg") -> Task:
        tensors = to_tensors(replace(files, interactions=cut.train))
        train = tensors.interactions
        user = np.searchsorted(tensors.user_ids, np.array([int(user) for user, _ in cut.test], np.int64))
        post = np.searchsorted(tensors.post_ids, np.array([int(post) for _, post in cut.test], np.int64))
        seen = csr_from_pairs(train.user, train.post, tensors.num_users)
        test = csr_from_pairs(user, post, tensors.num_users)
        return cls(tensors, train, seen, test, target, stop_seconds, measure)

    def judge(self, score: ScoreUsers) -> float:
        users = choose_users(self.test, self.users, SEED)
        scores = score_lists(rank_posts(score, users, self.seen, K), users, self.test)
        return float(getattr(scores, self.measure).mean())


@dataclass(frozen=True)
class Reached:
    """How it ended."""

    seconds: float | None  # until the target; None: not reached
    trained_seconds: float
    best: float

    def at_least(self) -> float:
        """Seconds to the target; those of the whole training where it was stopped before."""
        return self.trained_seconds if self.seconds is None else self.seconds


class Over(Exception):
    """The target is reached or the time is up."""


@dataclass
class Chase:
    """One ranker on its way to the target; made at the moment its training begins."""

    name: str
    task: Task
    clock: Callable[[], float] = time.monotonic
    _trained: float = 0.0
    _due: float = FIRST_SECONDS
    _best: float = 0.0
    _reached: float | None = None

    def __post_init__(self) -> None:
        self._since = self.clock()

    @property
    def trained_seconds(self) -> float:
        return self._trained + self.clock() - self._since

    def is_due(self) -> bool:
        return self.trained_seconds >= min(self._due, self.task.stop_seconds)

    @contextmanager
    def pause(self) -> Iterator[None]:
        self._trained = self.trained_seconds
        try:
            yield
        finally:
            self._since = self.clock()

    def judge(self, score: ScoreUsers) -> None:
        """With the clock standing. Raises Over."""
        with self.pause():
            found = self.task.judge(score)
        self.note(self._trained, found)

    def note(self, trained_seconds: float, found: float) -> None:
        """A judgement made elsewhere, after so much training. Raises Over."""
        self._best, self._due = max(self._best, found), trained_seconds * GROWTH
        measure = f"{self.task.measure}@{K}"
        say(f"{self.name}: {measure} {found:.4f} of {self.task.target:.4f} after {trained_seconds:.1f} s")
        if found >= self.task.target:
            self._reached = trained_seconds
        if self._reached is not None or trained_seconds >= self.task.stop_seconds:
            self._trained, self._since = trained_seconds, self.clock()
            raise Over

    def ended(self) -> Reached:
        return Reached(self._reached, self._trained, self._best)


def chased(name: str, task: Task, train: Callable[[Chase], None]) -> Reached:
    """Let `train` run until the target, the stop, or its own end."""
    chase = Chase(name, task)
    try:
        train(chase)
        with chase.pause():
            pass
    except Over:
        pass
    return chase.ended()


def score_by(users: np.ndarray, posts: np.ndarray) -> ScoreUsers:
    """From [num_users, dim] and [num_posts, dim]."""
    return lambda rows: (users[rows] @ posts.T).astype(np.float32, copy=False)
