"""The quality gate: may this model be published? A pure decision on figures; the served model stays when it says no.

Checks have names, by which an operator may let one pass (`--accept CHECK --reason "why"`):

    not-finite               a vector holds NaN or infinity; nobody can let that pass
    collapsed                all post vectors point the same way
    same-lists               half of the known users get the very same posts
    leaking                  it ranks held-out pairs as it ranks those that it was trained on
    coverage                 its lists show too little of the catalogue
    below-popularity         it ranks worse than popularity, over all users
    below-served[:SEGMENT]   it ranks worse than the served model, over all users or in a segment
    below-BASELINE           the same for a baseline that WAYPOST_TRAINER_GATING_BASELINES names

Worse means by more than the paired interval, widened so that all comparisons of a night hold together (comparing.py):
an honest retrain is refused at most once in twenty nights, whatever the number of segments and measures. Without a
served model, popularity and the checks above it decide alone. With fewer than MIN_USERS users in the holdout nothing
can be said about ranking: then `not-finite` and `collapsed` decide alone, and the decision says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from waypost.errors import GateRefused
from waypost.graph.tensors import Int32Array
from waypost.model.evaluation import interval_95, mean
from waypost.model.serving import ServingTables
from waypost.settings import TrainerSettings
from waypost.trainer.baselines import POPULARITY, gating_baselines
from waypost.trainer.checks import (
    BELOW,
    COLLAPSED,
    COVERAGE,
    LEAKING,
    NOT_FINITE,
    SAME_LISTS,
    SEGMENTS,
    Override,
)
from waypost.trainer.comparing import Comparison, Pairing, compare_all, gains_of
from waypost.trainer.holdout import MODEL, SERVED, HoldoutReport, K, is_finite, spread_of
from waypost.trainer.segments import ALL, NEW_USERS, within

MIN_USERS = 50  # fewer, and the interval of the mean is wider than any difference worth acting on
MIN_SPREAD = 0.01  # healthy models are above 0.5; here all posts point the same way
MAX_SAME_LIST_SHARE = 0.5  # half of all known users with the very same posts: no longer a personal list
MIN_COVERAGE_KEPT = 0.5  # of what the served model shows; honest retrains stay within a few percent of it
MAX_LEAK_RATIO = 0.7  # see _leaking; honest models are at 0.2 to 0.6, those trained on the holdout at 0.8 to 1


@dataclass(frozen=True)
class Finding:
    """A check that the model does not pass."""

    check: str
    what: str  # what is wrong and by how much
    overridden: bool = False

    def __str__(self) -> str:
        return f"{self.check}: {self.what}{' (let pass)' if self.overridden else ''}"


@dataclass(frozen=True)
class GateDecision:
    findings: tuple[Finding, ...]
    grounds: str  # what was decided on
    comparisons: tuple[Comparison, ...] = ()
    override: Override | None = None

    @property
    def accepted(self) -> bool:
        return all(finding.overridden for finding in self.findings)

    @property
    def reason(self) -> str:
        """What refused, every cause; or on what grounds it was accepted."""
        found = "; ".join(map(str, self.findings))
        return f"{found}; {self.grounds}" if found and self.accepted else found or self.grounds

    def facts(self) -> dict[str, Any]:
        """For the checkpoint and the release, as JSON."""
        return {
            "accepted": self.accepted,
            "reason": self.reason,
            "grounds": self.grounds,
            "findings": [asdict(finding) for finding in self.findings],
            "override": asdict(self.override) if self.override else None,
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
        }


def decide(report: HoldoutReport, settings: TrainerSettings, override: Override | None = None) -> GateDecision:
    """Every check that the model does not pass; those that the override names are let pass."""
    findings = sanity_findings(report.finite, report.spread)
    comparisons: tuple[Comparison, ...] = ()
    judged = len(report.users) >= MIN_USERS
    if judged and report.finite:
        comparisons = compare_all([*_pairings(report, settings)])
        findings += [*_list_findings(report, settings), *_below(comparisons)]
    return _decision(findings, _grounds(report, comparisons), comparisons, override)


def require_sane(tables: ServingTables, override: Override | None = None) -> None:
    """Of a model that is kept without being judged anew: it learned on, or was put on another graph.

    Raises GateRefused if that ruined it.
    """
    require_accepted(_decision(sanity_findings(is_finite(tables), spread_of(tables)), "sane", (), override))


def require_accepted(decision: GateDecision) -> None:
    """Raises GateRefused (exit 3) naming every check that refuses, and by how much."""
    if decision.accepted:
        return
    refusing = [finding for finding in decision.findings if not finding.overridden]
    ways_out = " ".join(finding.check for finding in refusing if finding.check != NOT_FINITE)
    raise GateRefused(
        f"the quality gate refused the model: {'; '.join(map(str, refusing))}",
        "the served release stays; look at what changed in the data since the last night"
        + (f', or publish it all the same with --accept {ways_out} --reason "why"' if ways_out else ""),
    )


def sanity_findings(finite: bool, spread: float) -> list[Finding]:
    """What is wrong with a model's tables whatever they were made for; see `holdout.is_finite` and `spread_of`."""
    if not finite:
        return [Finding(NOT_FINITE, "its vectors hold NaN or infinity")]
    if spread < MIN_SPREAD:
        return [Finding(COLLAPSED, f"the spread of its post vectors is {spread:.2g}, below {MIN_SPREAD:g}")]
    return []


def _decision(
    findings: Iterable[Finding], grounds: str, comparisons: tuple[Comparison, ...], override: Override | None
) -> GateDecision:
    accepted = set(override.checks if override else ()) - {NOT_FINITE}
    marked = tuple(Finding(found.check, found.what, found.check in accepted) for found in findings)
    return GateDecision(marked, grounds, comparisons, override)


def _pairings(report: HoldoutReport, settings: TrainerSettings) -> Iterator[Pairing]:
    """What tonight's model is compared with: popularity and gating baselines over all, the served one everywhere."""
    for name in dict.fromkeys((POPULARITY, *gating_baselines(settings))):
        if name in report.rankings:  # one that cannot be made of this graph gates nothing
            yield from _measures(report, BELOW + name, name, ALL)
    if SERVED in report.rankings:
        yield from _measures(report, BELOW + SERVED, SERVED, ALL)
        for segment in SEGMENTS:
            if len(report.judged[segment]) >= MIN_USERS:
                yield from _measures(report, f"{BELOW}{SERVED}:{segment}", SERVED, segment)


def _measures(report: HoldoutReport, check: str, reference: str, segment: str) -> Iterator[Pairing]:
    asked = report.asked
    part = within(asked.test, next(it for it in asked.segments if it.name == segment))
    own, other = (gains_of(report.rankings[name].lists, asked.users, part) for name in (MODEL, reference))
    yield Pairing(check, f"recall@{K}", reference, segment, own.position, own.post, own.recall, other.recall)
    yield Pairing(check, f"ndcg@{K}", reference, segment, own.position, own.post, own.ndcg, other.ndcg)


def _below(comparisons: Iterable[Comparison]) -> list[Finding]:
    """One finding for each check, with every measure that is below."""
    below: dict[str, list[str]] = {}
    for comparison in comparisons:
        if comparison.is_below:
            below.setdefault(comparison.check, []).append(str(comparison))
    return [Finding(check, ", ".join(measures)) for check, measures in below.items()]


def _list_findings(report: HoldoutReport, settings: TrainerSettings) -> Iterator[Finding]:
    share = same_list_share(report)
    if share > MAX_SAME_LIST_SHARE:
        yield Finding(SAME_LISTS, f"{share:.0%} of the known users get the same {K} posts")
    if leak := _leaking(report):
        yield Finding(LEAKING, leak)
    if narrow := _too_narrow(report, settings.gate_min_coverage):
        yield Finding(COVERAGE, narrow)


def same_list_share(report: HoldoutReport) -> float:
    """The share of the users with training interactions who get the most common list; newcomers may all get one."""
    known = report.lists[~np.isin(report.users, report.judged[NEW_USERS])]
    return _most_common_share(known) if len(known) >= MIN_USERS else 0.0


def _most_common_share(lists: Int32Array) -> float:
    counts = np.unique(np.sort(lists, axis=1), axis=0, return_counts=True)[1]
    return float(counts.max() / len(lists))


def _leaking(report: HoldoutReport) -> str:
    """How far a pair is from the top, in the mean: a model that never saw the holdout misses those far more widely.

    Beyond chance, so few users prove nothing; and only of one that looks good, better than popularity and not below the
    served model: whoever has learned little ranks all pairs alike too, and badly.
    """
    references = [report.scores(name).recall for name in (POPULARITY, SERVED) if name in report.rankings]
    if len(report.leak.trained) < MIN_USERS or any(mean(report.model.recall) <= mean(other) for other in references):
        return ""
    trained, held_out = 1.0 - report.leak.trained, 1.0 - report.leak.held_out
    excess = trained - MAX_LEAK_RATIO * held_out
    if mean(excess) - interval_95(excess) <= 0:
        return ""
    return (
        f"held-out pairs are {mean(held_out):.1%} from the top and those it was trained on {mean(trained):.1%}, more"
        f" than {MAX_LEAK_RATIO:g} of it, as if it had been trained on both"
    )


def _too_narrow(report: HoldoutReport, minimum: float) -> str:
    """Shares of the posts that so many lists could show, were all of them different."""
    possible = min(1.0, len(report.users) * K / max(report.num_posts, 1))
    shown, popular = (report.rankings[name].coverage / possible for name in (MODEL, POPULARITY))
    if shown < minimum:
        return f"its lists show {shown:.2%} of the posts that they could, below {minimum:.2%}"
    if shown - popular < minimum * (1.0 - popular):
        return f"its lists show {shown:.2%} of the posts that they could, hardly more than popularity's {popular:.2%}"
    if SERVED in report.rankings:
        served = report.rankings[SERVED].coverage / possible
        if shown < MIN_COVERAGE_KEPT * served:
            return f"its lists show {shown:.2%} of the posts that they could, less than half of served's {served:.2%}"
    return ""


def _grounds(report: HoldoutReport, comparisons: Sequence[Comparison]) -> str:
    if len(report.users) < MIN_USERS:
        return f"{len(report.users)} holdout users are fewer than {MIN_USERS}: sanity checks alone"
    if not comparisons:
        return "sanity checks alone"
    reference = SERVED if SERVED in report.rankings else POPULARITY
    first = next(comparison for comparison in comparisons if comparison.reference == reference)
    served = "" if SERVED in report.rankings else "; no served model to compare with"
    return f"{first}{served}"
