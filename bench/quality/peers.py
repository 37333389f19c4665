"""The trainer's own baselines as peers: tuned on a validation part of the training cut, never on the test.

What a baseline can be tuned by are constants of its module; a setting of a grid puts others in their place.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.graph_files import GraphFiles, to_tensors
from bench.progress import say
from bench.quality.cuts import Cut, Pair
from bench.quality.judging import K
from waypost.graph.tensors import Csr, GraphTensors, Int32Array, csr_from_pairs
from waypost.model.evaluation import Float32Array, ScoreUsers, choose_users, rank_posts, score_lists
from waypost.trainer.baselines import gf_cf, implicit_als, popularity

SEED = 1
VALIDATION_USERS = 2_000  # enough to choose by
Constants = Mapping[str, float]


@dataclass(frozen=True)
class Peer:
    name: str
    module: ModuleType
    fit: Any  # FitBaseline
    grid: Mapping[str, Sequence[float]]  # constants of its module

    def settings(self) -> list[Constants]:
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]

    @contextmanager
    def fitted(self, graph: Graph, constants: Constants) -> Iterator[ScoreUsers]:
        with ExitStack() as stack:
            if constants:
                stack.enter_context(patch.dict(vars(self.module), constants))
            yield self.fit(graph.tensors, graph.tensors.interactions, SEED)


POPULARITY = Peer("popularity", popularity, popularity.fit_popularity, {})
IMPLICIT_ALS = Peer(
    "implicit ALS",
    implicit_als,
    implicit_als.fit_implicit_als,
    {"FACTORS": (64, 128), "REGULARISATION": (5.0, 20.0, 35.0, 50.0, 100.0), "CONFIDENCE": (5.0, 10.0, 20.0, 40.0)},
)
GF_CF = Peer("GF-CF", gf_cf, gf_cf.fit_gf_cf, {"FACTORS": (64, 128, 256, 512), "ALPHA": (0.0, 0.1, 0.3, 1.0)})


@dataclass(frozen=True, eq=False)
class Graph:
    """A training cut as peers see it."""

    tensors: GraphTensors
    posts: NDArray[np.bool_]  # [num_posts] that may be ranked

    @classmethod
    def of(cls, files: GraphFiles, cut: Cut, posts: set[str] | None = None) -> Graph:
        """Posts None: all of them."""
        tensors = to_tensors(replace(files, interactions=cut.train), with_tokens=False)
        if posts is None:
            return cls(tensors, np.ones(tensors.num_posts, bool))
        return cls(tensors, np.isin(tensors.post_ids, np.array([int(post) for post in posts], np.int64)))

    def rows(self, pairs: Sequence[Pair]) -> Csr:
        """Those pairs as user -> posts."""
        user = np.searchsorted(self.tensors.user_ids, np.array([int(pair[0]) for pair in pairs], np.int64))
        post = np.searchsorted(self.tensors.post_ids, np.array([int(pair[1]) for pair in pairs], np.int64))
        return csr_from_pairs(user, post, self.tensors.num_users)

    def ranked(self, score: ScoreUsers, users: Int32Array, k: int) -> Int32Array:
        """[num_users, k] without what a user has; -1 where no post is left."""
        interactions = self.tensors.interactions
        seen = csr_from_pairs(interactions.user, interactions.post, self.tensors.num_users)

        def score_chosen(batch: Int32Array) -> Float32Array:
            scores = score(batch).astype(np.float32, copy=True)
            scores[:, ~self.posts] = -np.inf
            return scores

        return rank_posts(score_chosen, users, seen, k)


def tune(peer: Peer, graph: Graph, validation: Sequence[Pair]) -> tuple[Constants, float]:
    """(the grid's best by NDCG, that NDCG) on pairs that the graph does not have."""
    test = graph.rows(validation)
    users = choose_users(test, VALIDATION_USERS, SEED)
    best: tuple[Constants, float] = {}, -1.0
    for constants in peer.settings():
        with peer.fitted(graph, constants) as score:
            ndcg = float(score_lists(graph.ranked(score, users, K), users, test).ndcg.mean())
        if ndcg > best[1]:
            best = constants, ndcg
    say(f"{peer.name}: {best[0] or 'nothing to tune'}, NDCG {best[1]:.4f} on the validation part")
    return best


def lists_of(peer: Peer, graph: Graph, constants: Constants, test: Sequence[Pair], k: int) -> dict[str, list[str]]:
    """The test's users' lists."""
    users = np.flatnonzero(np.diff(graph.rows(test).indptr)).astype(np.int32)
    with peer.fitted(graph, constants) as score:
        lists = graph.ranked(score, users, k)
    ids, posts = graph.tensors.user_ids[users].tolist(), graph.tensors.post_ids
    return {
        str(user): [str(post) for post in posts[row[row >= 0]].tolist()] for user, row in zip(ids, lists, strict=True)
    }
