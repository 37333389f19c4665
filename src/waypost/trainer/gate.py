"""The quality gate: may this model be published? A pure decision on figures; the served model stays when it says no.

It refuses a model whose numbers are not finite, one that has collapsed (all posts or all users alike), and one that
ranks worse than popularity beyond what chance explains. With fewer than MIN_USERS users in the holdout nothing can be
said about ranking: such a model passes on the sanity checks alone, and the decision says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from waypost.errors import GateRefused
from waypost.model.evaluation import Float64Array, interval_95, mean
from waypost.trainer.holdout import HoldoutReport, K

MIN_USERS = 50  # fewer, and the interval of the mean is wider than any difference worth acting on
MIN_SPREAD = 0.01  # healthy models are above 0.5; here all posts point the same way
MAX_SAME_LIST_SHARE = 0.5  # half of all users with the very same posts: no longer a personal list


@dataclass(frozen=True)
class GateDecision:
    accepted: bool
    reason: str  # what refused, every cause; or on what grounds it was accepted


def decide(report: HoldoutReport) -> GateDecision:
    faults = sanity_faults(report.finite, report.spread)
    if len(report.users) >= MIN_USERS and report.same_list_share > MAX_SAME_LIST_SHARE:
        faults.append(f"collapsed, {report.same_list_share:.0%} of the users get the same {K} posts")
    judged = len(report.users) >= MIN_USERS
    if judged and not faults:
        faults = _ranking_faults(report)
    if faults:
        return GateDecision(False, "; ".join(faults))
    if not judged:
        return GateDecision(True, f"{len(report.users)} holdout users are fewer than {MIN_USERS}: sanity checks alone")
    return GateDecision(True, f"recall@{K} is {_gain(report.model.recall, report.popularity.recall)} over popularity")


def require_accepted(decision: GateDecision) -> None:
    """Raises GateRefused (exit 3) naming every reason."""
    if not decision.accepted:
        raise GateRefused(
            f"the quality gate refused the model: {decision.reason}",
            "the served release stays; look at what changed in the data since the last night",
        )


def sanity_faults(finite: bool, spread: float) -> list[str]:
    """What is wrong with a model's tables whatever they were made for; see `holdout.is_finite` and `spread_of`."""
    if not finite:
        return ["its vectors hold NaN or infinity"]
    if spread < MIN_SPREAD:
        return [f"collapsed, the spread of its post vectors is {spread:.2g}, below {MIN_SPREAD:g}"]
    return []


def _ranking_faults(report: HoldoutReport) -> list[str]:
    """The measures that are below popularity by more than the paired 95 % interval."""
    measures = (
        (f"recall@{K}", report.model.recall, report.popularity.recall),
        (f"ndcg@{K}", report.model.ndcg, report.popularity.ndcg),
    )
    return [
        f"{name} {mean(own):.4f} is {_gain(own, popular)} against popularity's {mean(popular):.4f}"
        for name, own, popular in measures
        if mean(own - popular) + interval_95(own - popular) < 0
    ]


def _gain(own: Float64Array, popular: Float64Array) -> str:
    """Paired: the same users, so that easy and hard ones cancel out."""
    difference = own - popular
    return f"{mean(difference):+.4f} ± {interval_95(difference):.4f}"
