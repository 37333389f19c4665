"""The promise, under seeded chaos: every request accepted by a gateway that lives is answered once and in time.

CHAOS_SEED, CHAOS_REQUESTS, CHAOS_FAULTS and CHAOS_RATE change a run; its seed is printed, and a history in which the
promise was broken is kept.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.conftest import Judge, StageOf
from tests.chaos.play import Run, play
from tests.chaos.stage import Sizes

SEED = int(os.environ.get("CHAOS_SEED", "1"))


def a_run(requests: int, faults: int, rate: float, last_seconds: float) -> Run:
    return Run(
        SEED,
        int(os.environ.get("CHAOS_REQUESTS", requests)),
        int(os.environ.get("CHAOS_FAULTS", faults)),
        float(os.environ.get("CHAOS_RATE", rate)),
        last_seconds=last_seconds,
    )


@pytest.mark.timeout(180)
def test_a_short_chaos_run_breaks_no_promise(stage_of: StageOf, judge: Judge) -> None:
    verdict = judge(play(stage_of(Sizes(gateways=2, workers=1)), a_run(1_000, 15, 70.0, 2.0)))
    assert verdict.violations == []
    assert verdict.counts["by the model"] > 0


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_chaos_run_of_five_thousand_requests_breaks_no_promise(stage_of: StageOf, judge: Judge) -> None:
    verdict = judge(play(stage_of(Sizes(2, 2, postgres=True)), a_run(5_500, 60, 45.0, 25.0)))
    assert verdict.violations == []
    assert verdict.counts["by the model"] > verdict.counts["degraded"] / 4


@pytest.mark.soak
@pytest.mark.timeout(5_400)
def test_a_chaos_run_of_fifty_thousand_requests_breaks_no_promise(stage_of: StageOf, judge: Judge) -> None:
    verdict = judge(play(stage_of(Sizes(2, 2, postgres=True)), a_run(50_500, 250, 60.0, 25.0)))
    assert verdict.violations == []
    assert verdict.counts["requests"] >= 50_000
    assert verdict.counts["by the model"] > verdict.counts["degraded"]
