"""What the gate found, as a dashboard reads it: each check's verdict, each figure beside its bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.trainer.reports import a_report
from waypost.metrics import TrainerMetrics
from waypost.settings import TrainerSettings
from waypost.trainer.checks import Override
from waypost.trainer.gate import decide
from waypost.trainer.gate_metrics import LET_PASS, PASSED, REFUSED, show_gate
from waypost.trainer.holdout import HoldoutReport

SETTINGS = TrainerSettings()


def shown(report: HoldoutReport, *accept: str) -> TrainerMetrics:
    metrics = TrainerMetrics()
    override = Override(accept, "they are to", "me") if accept else None
    show_gate(decide(report, SETTINGS, override), report, SETTINGS.gate_min_coverage, metrics)
    return metrics


def verdict(metrics: TrainerMetrics, check: str) -> float | None:
    return metrics.registry.get_sample_value("waypost_trainer_gate_verdict", {"check": check})


def figure(metrics: TrainerMetrics, name: str, check: str, measure: str) -> float:
    found = metrics.registry.get_sample_value(f"waypost_trainer_gate_{name}", {"check": check, "measure": measure})
    assert found is not None
    return found


def test_every_check_that_was_made_has_passed_in_a_good_night() -> None:
    metrics = shown(a_report(served=0.02))
    for check in ("not-finite", "collapsed", "same-lists", "coverage", "leaking", "below-popularity", "below-served"):
        assert verdict(metrics, check) == PASSED
    assert figure(metrics, "value", "below-served", "recall@20") > figure(metrics, "bound", "below-served", "recall@20")
    assert figure(metrics, "value", "collapsed", "spread") == 0.8


def test_the_check_that_refused_is_told_with_its_figure_past_its_bound() -> None:
    metrics = shown(a_report(gain=-0.1))
    assert verdict(metrics, "below-popularity") == REFUSED
    below = [figure(metrics, name, "below-popularity", "recall@20") for name in ("value", "bound")]
    assert below[0] < below[1] < 0


def test_what_an_operator_let_pass_is_neither_passed_nor_refused() -> None:
    assert verdict(shown(a_report(spread=0.001), "collapsed"), "collapsed") == LET_PASS


def test_a_check_that_was_not_made_has_no_verdict() -> None:
    few, ruined = shown(a_report(users=20)), shown(a_report(finite=False))
    assert verdict(few, "collapsed") == PASSED
    assert verdict(few, "coverage") is None
    assert verdict(ruined, "not-finite") == REFUSED
    assert verdict(ruined, "collapsed") is None
    without = a_report()
    probe = replace(without.leak, trained=np.empty(0), held_out=np.empty(0))
    assert verdict(shown(replace(without, leak=probe)), "leaking") is None
