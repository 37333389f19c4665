"""The chosen baselines' lists for the judged users, from the cache or made now."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Csr, GraphTensors, Int32Array, Interactions
from waypost.logs import stage
from waypost.model.evaluation import Float32Array, ScoreUsers, rank_posts
from waypost.settings import TrainerSettings
from waypost.trainer.baselines import ease, gf_cf, implicit_als, item_knn, names
from waypost.trainer.baselines.cache import BaselineCache, Lists, Question, digest_of, load_lists, save_lists
from waypost.trainer.baselines.content import fit_content
from waypost.trainer.baselines.names import chosen_baselines, gating_baselines
from waypost.trainer.baselines.popularity import fit_popularity
from waypost.trainer.split import Split

logger = logging.getLogger(__name__)


class FitBaseline(Protocol):
    def __call__(self, tensors: GraphTensors, train: Interactions, seed: int) -> ScoreUsers:
        """Fitted on `train`, it scores users against every post; the same seed, the same scores."""


@dataclass(frozen=True)
class Baseline:
    fit: FitBaseline
    parameters: Mapping[str, float]  # whatever decides about its lists


BASELINES: dict[str, Baseline] = {
    names.POPULARITY: Baseline(fit_popularity, {}),
    names.ITEM_KNN: Baseline(item_knn.fit_item_knn, item_knn.PARAMETERS),
    names.IMPLICIT_ALS: Baseline(implicit_als.fit_implicit_als, implicit_als.PARAMETERS),
    names.CONTENT: Baseline(fit_content, {}),
    names.GF_CF: Baseline(gf_cf.fit_gf_cf, gf_cf.PARAMETERS),
    names.EASE: Baseline(ease.fit_ease, ease.PARAMETERS),
}


def rank_baselines(
    settings: TrainerSettings,
    tensors: GraphTensors,
    cut: Split,
    users: Int32Array,
    seen: Csr,
    k: int,
    cache: BaselineCache | None = None,
) -> Lists:
    """[num_users, k] by name, of the posts that are not in the user's row of `seen`.

    Raises StoreUnavailable where there is a cache.
    """
    chosen = runnable(settings, tensors)
    if cache is None:
        return _ranked(chosen, tensors, cut, users, seen, k, settings.seed)
    question = Question(users, k, settings.seed, {name: BASELINES[name].parameters for name in chosen})
    digest = digest_of(question, tensors, cut)
    lists = load_lists(cache, digest, question, tensors.num_posts)
    if lists is None:
        lists = _ranked(chosen, tensors, cut, users, seen, k, settings.seed)
        save_lists(cache, digest, question, lists)
    return lists


def _ranked(
    chosen: list[str], tensors: GraphTensors, cut: Split, users: Int32Array, seen: Csr, k: int, seed: int
) -> Lists:
    popularity = fit_popularity(tensors, cut.train, seed)
    known = np.bincount(cut.train.user, minlength=tensors.num_users) > 0
    lists = {}
    for name in chosen:
        with stage(logger, "baseline ranked", baseline=name):
            score = BASELINES[name].fit(tensors, cut.train, seed)
            lists[name] = rank_posts(_popular_for_unknown(score, popularity, known), users, seen, k)
    return lists


def runnable(settings: TrainerSettings, tensors: GraphTensors) -> list[str]:
    """The chosen ones that this graph can have; what is left out is told, and warned of if it was to gate."""
    told, kept = gating_baselines(settings), []
    for name in chosen_baselines(settings):
        if why := _why_not(name, tensors):
            level = logging.WARNING if name in told else logging.INFO
            logger.log(level, "baseline left out", extra={"baseline": name, "cause": why})
        else:
            kept.append(name)
    return kept


def _why_not(name: str, tensors: GraphTensors) -> str:
    """Empty when it can be made."""
    if name == names.EASE and tensors.num_posts > ease.MOST_POSTS:
        return f"more than {ease.MOST_POSTS:,} posts"
    if name == names.CONTENT and not (len(tensors.post_tags.indices) or len(tensors.post_tokens.indices)):
        return "neither tags nor text"
    return ""


def _popular_for_unknown(score: ScoreUsers, popularity: ScoreUsers, known: NDArray[np.bool_]) -> ScoreUsers:
    """A user without history gets what is popular, whoever ranks: no baseline has anything to say about him."""

    def score_users(users: Int32Array) -> Float32Array:
        scores = score(users)
        unknown = ~known[users]
        scores[unknown] = popularity(users[unknown])
        return scores

    return score_users
