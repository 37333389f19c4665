"""What the gate found as metrics: of each check its verdict, of each figure that it judges the value and the bound."""

from __future__ import annotations

from collections.abc import Iterator

from waypost.metrics import TrainerMetrics
from waypost.model.evaluation import mean
from waypost.trainer.checks import COLLAPSED, COVERAGE, LEAKING, NOT_FINITE, SAME_LISTS
from waypost.trainer.gate import (
    MAX_LEAK_RATIO,
    MAX_SAME_LIST_SHARE,
    MIN_SPREAD,
    MIN_USERS,
    GateDecision,
    same_list_share,
)
from waypost.trainer.holdout import MODEL, HoldoutReport, K

PASSED, LET_PASS, REFUSED = 0, 1, 2
Figure = tuple[str, str, float, float]  # check, measure, value, bound


def show_gate(decision: GateDecision, report: HoldoutReport, min_coverage: float, metrics: TrainerMetrics) -> None:
    """`min_coverage`: of the settings. A check that was not made (too few users, no served model) has no series."""
    figures = list(_figures(decision, report, min_coverage))
    for check in dict.fromkeys((NOT_FINITE, *(figure[0] for figure in figures))):
        metrics.gate_verdict.labels(check).set(PASSED)
    for finding in decision.findings:
        metrics.gate_verdict.labels(finding.check).set(LET_PASS if finding.overridden else REFUSED)
    for check, measure, value, bound in figures:
        metrics.gate_value.labels(check, measure).set(value)
        metrics.gate_bound.labels(check, measure).set(bound)


def _figures(decision: GateDecision, report: HoldoutReport, min_coverage: float) -> Iterator[Figure]:
    if not report.finite:
        return
    yield COLLAPSED, "spread", report.spread, MIN_SPREAD
    if len(report.users) < MIN_USERS:
        return
    yield SAME_LISTS, "share", same_list_share(report), MAX_SAME_LIST_SHARE
    possible = min(1.0, len(report.users) * K / max(report.num_posts, 1))
    yield COVERAGE, "share", report.rankings[MODEL].coverage / possible, min_coverage
    if len(report.leak.trained) and (held_out := mean(1.0 - report.leak.held_out)):
        yield LEAKING, "ratio", mean(1.0 - report.leak.trained) / held_out, MAX_LEAK_RATIO
    for comparison in decision.comparisons:
        yield comparison.check, comparison.measure, comparison.difference, -comparison.half_width
