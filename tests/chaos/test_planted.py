"""The checker finds each planted bug in a short run, and nothing in the same run without it."""

from __future__ import annotations

import pytest

from tests.chaos.catalogue import BUGS, TOGETHER, PlantedBug
from tests.chaos.conftest import Judge, StageOf
from tests.chaos.play import Run, play
from tests.chaos.schedule import Step
from tests.chaos.stage import Bugs, Sizes

SIZES = Sizes(gateways=2, workers=1)
REQUESTS, RATE = 300, 75.0
SEED = 6


def the(name: str) -> PlantedBug:
    return next(bug for bug in BUGS if bug.name == name)


def a_run(bugs: Bugs, steps: tuple[Step, ...]) -> Run:
    return Run(SEED, REQUESTS, 0, RATE, bugs, steps)


@pytest.mark.timeout(120)
def test_three_bugs_in_three_processes_are_found_in_one_run(stage_of: StageOf, judge: Judge) -> None:
    hasty, trusting, careless = map(the, TOGETHER)
    forged = Step(0.3, "forge", "gateway-2/replies", 4.0, share=0.5)
    bugs: Bugs = {"worker-1": (hasty.name,), "gateway-2": (trusting.name,), "gateway-1": (careless.name,)}
    found = judge(play(stage_of(SIZES), a_run(bugs, (*careless.steps, forged)))).rules()
    for bug in (hasty, trusting, careless):
        assert found.keys() & set(bug.rules), bug.name


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_is_found(stage_of: StageOf, judge: Judge, bug: PlantedBug) -> None:
    found = judge(play(stage_of(SIZES), a_run({bug.process: (bug.name,)}, bug.steps))).rules()
    assert found.keys() & set(bug.rules)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_same_runs_without_a_bug_are_clean(stage_of: StageOf, judge: Judge) -> None:
    for steps in {bug.steps for bug in BUGS}:
        assert judge(play(stage_of(SIZES), a_run({}, steps))).violations == []
