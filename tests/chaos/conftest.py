"""One stage for all runs of a session; histories in which a promise was broken are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.history import History
from tests.chaos.stage import Sizes, Stage
from tests.chaos.verdict import Verdict

KEPT = Path(os.environ.get("CHAOS_HISTORIES", "/tmp/waypost-chaos"))
StageOf = Callable[[Sizes], Stage]
Judge = Callable[[History], Verdict]


@pytest.fixture(scope="session")
def stage_of(stack_folders: Path) -> Iterator[StageOf]:
    """A stage of that size, its servers up."""
    stages: dict[Sizes, Stage] = {}

    def have(sizes: Sizes) -> Stage:
        if sizes not in stages:
            folder = stack_folders / f"chaos-{len(stages)}"
            folder.mkdir()
            stages[sizes] = Stage(folder, sizes)
            stages[sizes].up()
        return stages[sizes]

    yield have
    for stage in stages.values():
        stage.down()
        shutil.rmtree(stage.folder)


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Judge:
    """Check a history, print what was found, keep a bad one."""

    def judged(history: History) -> Verdict:
        verdict = check(history)
        print(f"\n{history.about}", *verdict.lines(), sep="\n", flush=True)
        if verdict.violations:
            kept = history.save(KEPT / f"{request.node.name}-{history.about['seed']}.jsonl")
            print(f"kept; to judge it again: python -m tests.chaos check {kept}")
        return verdict

    return judged
