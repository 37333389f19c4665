"""What the page's headline says when no stage got slower and all is not well."""

from __future__ import annotations

import math

import pytest

from waypost.gateway.page.histograms import Counts
from waypost.gateway.page.slowness import Verdict
from waypost.gateway.page.troubles import NO_WORKER, OPEN, RECOVERING, Traffic, percent, troubles, with_troubles

EDGES = (0.05, 0.25, 0.5, math.inf)
CALM = Verdict("calm", "No stage got slower", "Compared with release 6.", "worker", "infer")
SLOW = Verdict("slow", "tokenize got slower", "tokenize in the worker: p99 2 ms → 120 ms.", "worker", "tokenize")
QUIET = Verdict("quiet", "No requests lately", "Ask for somebody.")


def traffic(quick: int = 0, late: int = 0, degraded: int = 0) -> Traffic:
    by_model = Counts(EDGES, (quick, quick, quick + late, quick + late)) if quick + late else None
    return Traffic(by_model, degraded)


def headline(
    of: Traffic, verdict: Verdict = CALM, ready: float | None = 1, trouble: str | None = None, breaker: float = 0
) -> Verdict:
    return with_troubles(verdict, troubles(of, ready, trouble, breaker))


def test_where_all_is_well_the_verdict_on_the_stages_stands() -> None:
    for verdict in (CALM, SLOW, QUIET):
        assert headline(traffic(quick=1_000), verdict) == verdict


def test_without_a_ready_worker_that_comes_first_whatever_else_there_is() -> None:
    for verdict in (CALM, SLOW, QUIET):
        said = headline(traffic(degraded=40), verdict, ready=0, breaker=OPEN)
        assert said.headline == "No worker is ready"
        assert "100 % of the last 40 answers are degraded" in said.sentence
        assert "holds requests back" in said.sentence
    assert headline(traffic(), ready=None, trouble="ConnectionRefusedError").headline == "The worker does not answer"


def test_where_workers_are_elsewhere_nothing_is_said_of_them_unless_answers_are_degraded() -> None:
    assert headline(traffic(quick=100), ready=None, trouble=NO_WORKER) == CALM
    assert NO_WORKER in headline(traffic(degraded=10), ready=None, trouble=NO_WORKER).sentence


def test_degraded_answers_are_told_in_a_share_of_all() -> None:
    said = headline(traffic(quick=64, degraded=36))
    assert (said.kind, said.headline) == ("bad", "Answers are degraded")
    assert "36 % of the last 100 answers" in said.sentence
    assert headline(traffic(quick=1_000, degraded=2)) == CALM, "a hiccup"
    assert headline(traffic(quick=10, degraded=2)) == CALM, "two of twelve may be chance"


def test_a_slow_stage_is_named_before_what_it_leads_to() -> None:
    said = headline(traffic(quick=40, degraded=60), SLOW, breaker=OPEN)
    assert (said.kind, said.headline, said.stage) == ("slow", SLOW.headline, "tokenize")
    assert said.sentence.startswith(SLOW.sentence)
    assert "60 % of the last 100" in said.sentence


@pytest.mark.parametrize(("state", "words"), [(OPEN, "holds requests back"), (RECOVERING, "only a part")])
def test_a_breaker_that_is_not_closed_is_told(state: float, words: str) -> None:
    said = headline(traffic(quick=100), breaker=state)
    assert said.kind == "bad"
    assert words in said.sentence


def test_the_objective_is_of_the_models_answers_and_of_all_requests() -> None:
    assert traffic(quick=99, late=1).met
    assert traffic(quick=98, late=2).met is False
    assert traffic(quick=90, degraded=10).met is False, "a degraded answer in time meets nothing"
    assert traffic(degraded=5).met is False
    assert traffic().met is None
    said = headline(traffic(quick=90, late=10))
    assert (said.headline, said.kind) == ("The objective is missed", "bad")
    assert "10 % of the answers took longer than 250 ms" in said.sentence


def test_what_rests_on_few_answers_is_known_to() -> None:
    assert traffic(quick=5, late=5).is_few
    assert headline(traffic(quick=5, late=5)) == CALM
    assert not traffic(quick=50).is_few


def test_a_share_is_never_rounded_to_all_or_nothing() -> None:
    assert [percent(share) for share in (0.004, 0.36, 0.999, 1.0)] == ["0.4 %", "36 %", "99 %", "100 %"]
