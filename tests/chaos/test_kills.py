"""Orderly ends and sudden ones under load: SIGTERM to gateways and workers in turn, then SIGKILL to workers.

After SIGTERM every accepted request is answered and nothing is inferred twice; after SIGKILL every request is answered
by its deadline. CHAOS_KILLS changes how many of each there are.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.conftest import Judge, StageOf
from tests.chaos.play import Run, play
from tests.chaos.schedule import Step
from tests.chaos.stage import NUMBERS_EACH, Sizes

SEED = int(os.environ.get("CHAOS_SEED", "1"))
SIZES = Sizes(gateways=2, workers=2)
RATE = 40.0
APART_SECONDS = 1.0  # at least, from one end to the next of the same sort; the others must serve first
REST_SECONDS = 5.0


def a_run(kind: str, sorts: list[str], count: int, *, strict: bool) -> Run:
    """`count` ends of each sort of process, in turn, one sort beside the other."""
    steps = [
        Step(1 + APART_SECONDS * (turn + offset / len(sorts)), kind, f"{sort}-{turn % 2 + 1}", 0.1)
        for turn in range(count)
        for offset, sort in enumerate(sorts)
    ]
    return Run(SEED, NUMBERS_EACH, 0, RATE, steps=steps, last_seconds=REST_SECONDS, paced=True, strict=strict)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(50, marks=[pytest.mark.faults, pytest.mark.timeout(1_800)]),
        pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(10_800)]),
    ],
)
class TestEnds:
    def test_after_sigterm_every_accepted_request_is_answered_and_none_inferred_twice(
        self, stage_of: StageOf, judge: Judge, count: int
    ) -> None:
        count = int(os.environ.get("CHAOS_KILLS", count))
        history = play(stage_of(SIZES), a_run("terminate", ["gateway", "worker"], count, strict=True))
        verdict = judge(history)
        assert verdict.violations == []
        assert verdict.counts["orderly ends"] == 2 * count
        assert verdict.counts["by the model"] > verdict.counts["degraded"]

    def test_after_sigkill_of_a_worker_every_request_is_answered_by_its_deadline(
        self, stage_of: StageOf, judge: Judge, count: int
    ) -> None:
        count = int(os.environ.get("CHAOS_KILLS", count))
        verdict = judge(play(stage_of(SIZES), a_run("kill", ["worker"], count, strict=False)))
        assert verdict.violations == []
        assert verdict.counts["kills"] == count
        assert verdict.counts["by the model"] > verdict.counts["degraded"]
