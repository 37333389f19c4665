"""Two rankers on the same holdout: how far apart are they, and what could chance alone have done?

They are compared pair by pair, so that easy and hard pairs cancel out. A difference has two sources of chance. Users
are one; posts are the other: training that lifts one post a little gives a hit to hundreds of users at once, so users
are not independent. Counting users alone, the differences of honest retrains scatter up to two and a half times as
widely as they should (docs/decisions.md). So the variance is clustered both ways, by user and by post:

    Var = (Σ_user (Σ d)² + Σ_post (Σ d)² - Σ d²) / users²          d: a pair's share of the measure, ours minus theirs

(Cameron, Gelbach and Miller 2011, "Robust Inference with Multiway Clustering"), about zero, as if both rankers were
level: the normal approximation of the sign-flip test. A night makes many comparisons; Bonferroni's quantile keeps all
of their intervals right together in 95 of 100 nights: with m of them each is at 1 - 0.05/(2m), 2.87 standard errors for
twelve in place of 1.96.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Csr, Int32Array, Int64Array
from waypost.model.evaluation import Float64Array

CONFIDENCE = 0.95  # that all intervals of a night together hold what they are to hold


@dataclass(frozen=True)
class Comparison:
    """One measure of the model and of a reference, in one segment. Positive differences favour the model."""

    check: str  # the gate's, that falls when the model is below
    measure: str
    reference: str
    segment: str
    users: int
    own: float
    other: float
    difference: float
    half_width: float  # of the simultaneous interval

    @property
    def is_below(self) -> bool:
        return self.difference + self.half_width < 0

    def __str__(self) -> str:
        difference = f"{self.difference:+.4f} ± {self.half_width:.4f}"
        return f"{self.measure} {self.own:.4f} is {difference} against {self.reference}'s {self.other:.4f}"


@dataclass(frozen=True, eq=False)
class Gains:
    """What each held-out pair gives to a ranker's measures; the sum over all, by users, is the measure."""

    position: Int64Array  # [num_pairs] of the user in the lists
    post: Int32Array  # [num_pairs]
    recall: Float64Array  # [num_pairs]
    ndcg: Float64Array  # [num_pairs]


@dataclass(frozen=True, eq=False)
class Pairing:
    """What is to be compared: a measure of both rankers, pair by pair."""

    check: str
    measure: str
    reference: str
    segment: str
    position: Int64Array  # [num_pairs] by user
    post: Int32Array  # [num_pairs]
    own: Float64Array  # [num_pairs]
    other: Float64Array  # [num_pairs]


def gains_of(lists: Int32Array, users: Int32Array, test: Csr) -> Gains:
    """Of lists [num_users, k] (-1: no post) against the users' rows of `test`; see evaluation.py for the measures."""
    num_test = np.diff(test.indptr)[users]
    position = np.repeat(np.arange(len(users)), num_test)
    starts = np.repeat(test.indptr[users] - (np.cumsum(num_test) - num_test), num_test)
    post = test.indices[starts + np.arange(len(position))]
    found: NDArray[np.bool_] = lists[position] == post[:, None]
    discount = 1.0 / np.log2(np.arange(2, lists.shape[1] + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discount)))
    asked = num_test[position]
    return Gains(
        position=position,
        post=post,
        recall=found.any(axis=1) / np.maximum(asked, 1),
        ndcg=(found @ discount) / ideal[np.minimum(lists.shape[1], asked)],
    )


def compare_all(pairings: Sequence[Pairing]) -> tuple[Comparison, ...]:
    """Every comparison of a night; together their intervals hold with CONFIDENCE."""
    deviations = deviations_for(len(pairings))
    return tuple(_compare(pairing, deviations) for pairing in pairings)


def deviations_for(comparisons: int) -> float:
    """Bonferroni's two-sided quantile, in standard errors."""
    return NormalDist().inv_cdf(1.0 - (1.0 - CONFIDENCE) / (2.0 * max(comparisons, 1)))


def _compare(pairing: Pairing, deviations: float) -> Comparison:
    users = len(np.unique(pairing.position))
    own, other = (float(values.sum()) / max(users, 1) for values in (pairing.own, pairing.other))
    return Comparison(
        check=pairing.check,
        measure=pairing.measure,
        reference=pairing.reference,
        segment=pairing.segment,
        users=users,
        own=own,
        other=other,
        difference=own - other,
        half_width=deviations * _standard_error(pairing) / max(users, 1),
    )


def _standard_error(pairing: Pairing) -> float:
    """Of the sum of the differences. Never less than by users alone, which rounding, or few posts, might give."""
    difference = pairing.own - pairing.other
    by_user = float((np.bincount(pairing.position, difference) ** 2).sum())
    by_post = float((np.bincount(pairing.post, difference) ** 2).sum())
    by_pair = float((difference**2).sum())
    return float(np.sqrt(max(by_user + by_post - by_pair, by_user)))
