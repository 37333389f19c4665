"""A canary's calls beside the served release's: whoever it keeps waiting is answered by the served one in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from waypost.clock import SystemClock
from waypost.errors import TritonHung
from waypost.objects.bundle import Manifest
from waypost.questions import Answer, Question
from waypost.release.answering import Answerer as ReleaseAnswerer
from waypost.stages import StageTimer
from waypost.worker.canary import CanaryLimits, Comparison, latest_calls
from waypost.worker.pod import Installed
from waypost.worker.served import TRIAL_CALL_SECONDS, CallLimit, Canary, CanaryAnswerer, Served, share_out

QUESTIONS = [Question(1), Question(2)]


class Release:
    """Answers with its version, when `go_on` lets it."""

    def __init__(self, version: int, limit: CallLimit) -> None:
        self.version, self.limit = version, limit
        self.go_on, self.calls = threading.Event(), 0
        self.go_on.set()
        self.trouble: Exception | None = None
        self.limits: list[float | None] = []

    def answer(self, questions: list[Question], stages: StageTimer) -> list[Answer]:
        self.calls += 1
        self.limits.append(self.limit.seconds)
        with stages.time("infer"):
            self.go_on.wait(60)
        if self.trouble is not None:
            raise self.trouble
        return [Answer(self.version, "graphsage", ())] * len(questions)


class Trial:
    def __init__(self) -> None:
        self.old, self.new = self._served(1), self._served(2)
        self.comparison = Comparison(CanaryLimits(share=0.5), SystemClock(), latest_calls())
        self.canary = Canary(self.new, self.comparison, 0.5, cast("Manifest", None), {})
        self.answerer = CanaryAnswerer(self.canary, self.old, SystemClock())

    @staticmethod
    def _served(version: int) -> Served:
        limit = CallLimit()
        release = cast("ReleaseAnswerer", Release(version, limit))
        return Served(Installed(f"release-{version}", version, cast("Any", None), cast("Any", None)), release, limit)

    @property
    def tried(self) -> Release:
        return cast("Release", self.new.answerer)

    def answer(self, patience: float | None = None) -> set[int | None]:
        stages = StageTimer(2)
        answers = self.answerer.answer(QUESTIONS, stages, patience)
        assert len(answers) == len(QUESTIONS)
        assert "infer" in stages.seconds
        return {answer.model_version for answer in answers}


@pytest.fixture
def trial() -> Iterator[Trial]:
    trial = Trial()
    yield trial
    trial.tried.go_on.set()
    trial.canary.calls.close()


def eventually(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.002)


def test_a_canary_that_answers_is_the_one_that_answers(trial: Trial) -> None:
    assert trial.answer() == {2}
    assert trial.comparison.new.answers == 2


def test_callers_of_a_slow_canary_are_answered_by_the_served_release_in_time(trial: Trial) -> None:
    trial.tried.go_on.clear()
    assert trial.answer(patience=0.02) == {1}
    assert trial.comparison.new.errors == 0, "its call goes on"
    assert trial.answer(patience=60) == {1}, "and while it does nobody waits for it at all"
    assert trial.tried.calls == 1
    trial.tried.go_on.set()
    eventually(lambda: trial.comparison.new.answers == 2)  # judged by all that it took
    eventually(lambda: trial.canary.calls.free)
    assert trial.answer() == {2}


def test_a_call_that_fails_counts_and_is_answered_by_the_served_release(trial: Trial) -> None:
    trial.tried.trouble = TritonHung("no answer in time")
    assert trial.answer() == {1}
    assert trial.answer() == {1}
    assert trial.comparison.new.errors == 4
    assert trial.comparison.verdict().state == "failed"


def test_its_call_has_a_limit_of_its_own_and_the_served_releases_that_of_its_callers(trial: Trial) -> None:
    trial.answer(patience=5)
    assert trial.tried.limits == [TRIAL_CALL_SECONDS]
    ((served, _),) = share_out(["a"], trial.old, None, SystemClock())
    for patience, expected in ((None, None), (0.02, 1.0), (3.0, 3.0)):
        served.answer(QUESTIONS, StageTimer(), patience)
        assert cast("Release", trial.old.answerer).limits[-1] == expected


def test_a_release_on_trial_names_who_answers_instead(trial: Trial) -> None:
    ids = [f"r{i}" for i in range(40)]
    shared = share_out(ids, trial.old, trial.canary, SystemClock())
    assert sorted(position for _, part in shared for position in part) == list(range(40))
    assert {answerer.model_version: answerer.instead is None for answerer, _ in shared} == {1: True, 2: False}
    alone = share_out(ids, trial.old, None, SystemClock())
    assert [(answerer.model_version, len(part)) for answerer, part in alone] == [(1, 40)]
