"""What a pod answers with: the served release, and perhaps a canary beside it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from waypost.clock import Clock
from waypost.errors import TritonUnavailable
from waypost.logs import cause_of
from waypost.objects.bundle import Manifest
from waypost.questions import Answer, Question
from waypost.release.answering import Answerer as ReleaseAnswerer
from waypost.stages import StageTimer
from waypost.worker.answerer import Answerer
from waypost.worker.canary import Comparison, latest_calls, takes_part
from waypost.worker.lane import Lane
from waypost.worker.pod import Installed

logger = logging.getLogger(__name__)
# A call of a proven release ends when nobody waits for it any more, but is given this: who asks for 20 ms must not make
# a Triton that is well look hung.
LEAST_CALL_SECONDS = 1.0
TRIAL_CALL_SECONDS = 1.0  # then a call of a canary has failed; nobody waits for it so long
TRIAL_SHARE = 0.5  # of the time its callers have; in the rest the served release answers them


class CallLimit(threading.local):
    """Seconds for the calls that this thread makes; None: the usual."""

    seconds: float | None = None

    @contextmanager
    def of(self, seconds: float | None) -> Iterator[None]:
        before, self.seconds = self.seconds, seconds
        try:
            yield
        finally:
            self.seconds = before


@dataclass(frozen=True, eq=False)
class Served:
    """A release that this pod's Triton has loaded and proven."""

    installed: Installed
    answerer: ReleaseAnswerer
    limit: CallLimit = field(default_factory=CallLimit)  # which the answerer's calls keep
    calls: deque[float] = field(default_factory=latest_calls)
    scores: Mapping[str, float] = field(default_factory=dict)  # of its night's holdout

    @property
    def release(self) -> str:
        return self.installed.release

    @property
    def version(self) -> int:
        return self.installed.version


@dataclass(frozen=True, eq=False)
class Canary:
    """A release on trial; its files are kept on disk once it has passed."""

    served: Served
    comparison: Comparison
    share: float
    manifest: Manifest
    files: Mapping[str, bytes]
    calls: Lane = field(default_factory=lambda: Lane("canary"))  # one at a time, for which its callers need not wait

    def end(self) -> None:
        """The trial is over; a call under way may hang on."""
        self.calls.close(wait=False)


class NobodyYet:
    """Before the first release: the requests go back on the queue."""

    model_version: int | None = None
    instead: Answerer | None = None

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
        raise TritonUnavailable("no release is loaded yet")


class ServedAnswerer:
    """The served release; what it takes is remembered, for the next one to be compared with."""

    instead: Answerer | None = None

    def __init__(self, served: Served, comparison: Comparison | None, clock: Clock) -> None:
        self._served, self._comparison, self._clock = served, comparison, clock

    @property
    def model_version(self) -> int:
        return self._served.version

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
        started = self._clock.monotonic()
        with self._served.limit.of(None if patience is None else max(patience, LEAST_CALL_SECONDS)):
            answers = self._served.answerer.answer(questions, stages)
        seconds = self._clock.monotonic() - started
        if self._comparison is None:
            self._served.calls.append(seconds)
        else:
            self._comparison.answered_by_old(answers, seconds)
        return answers


class CanaryAnswerer:
    """The canary; what it cannot answer, or not soon, the served release answers.

    Its calls are made in a thread of their own and end by themselves, so that a slow one is judged by all it took,
    while its callers wait no longer than leaves time for the other.
    """

    def __init__(self, canary: Canary, old: Served, clock: Clock) -> None:
        self._canary, self._clock = canary, clock
        self.instead: Answerer | None = ServedAnswerer(old, canary.comparison, clock)
        self._old = old

    @property
    def model_version(self) -> int:
        return self._canary.served.version

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
        started = self._clock.monotonic()
        trial, outcome = stages.apart(self.model_version), Future[list[Answer]]()
        if self._canary.calls.offer(lambda: self._try(questions, trial, outcome)):
            waits = TRIAL_CALL_SECONDS if patience is None else min(TRIAL_CALL_SECONDS, TRIAL_SHARE * patience)
            try:
                answers = outcome.result(waits)
            except Exception as error:  # whatever a new release does wrong, its callers must not see it
                logger.warning("a canary did not answer, the release before it does", extra={"cause": cause_of(error)})
            else:
                stages.absorb(trial)
                return answers
        stages.add("infer", self._clock.monotonic() - started)
        served = stages.apart(self._old.version)
        answers = self._old.answerer.answer(questions, served)  # where this fails too, it is not the canary's fault
        stages.absorb(served)
        return answers

    def _try(self, questions: Sequence[Question], stages: StageTimer, outcome: Future[list[Answer]]) -> None:
        """One call, judged by what it took and brought, whether somebody still waits for it or not."""
        comparison, started = self._canary.comparison, self._clock.monotonic()
        try:
            with self._canary.served.limit.of(TRIAL_CALL_SECONDS):
                answers = self._canary.served.answerer.answer(questions, stages)
        except Exception as error:
            comparison.failed(len(questions))
            outcome.set_exception(error)
            return
        comparison.answered_by_new(questions, answers, self._clock.monotonic() - started)
        outcome.set_result(answers)


def share_out(
    request_ids: Sequence[str], served: Served | None, canary: Canary | None, clock: Clock
) -> list[tuple[Answerer, list[int]]]:
    """Who answers which of these requests, by position; the canary's part is chosen by a hash of the id."""
    positions = list(range(len(request_ids)))
    if served is None:
        return [(NobodyYet(), positions)]
    if canary is None:
        return [(ServedAnswerer(served, None, clock), positions)]
    tried = [position for position in positions if takes_part(request_ids[position], canary.share)]
    rest = sorted(set(positions) - set(tried))
    shared: list[tuple[Answerer, list[int]]] = [
        (CanaryAnswerer(canary, served, clock), tried),
        (ServedAnswerer(served, canary.comparison, clock), rest),
    ]
    return [(answerer, part) for answerer, part in shared if part]
