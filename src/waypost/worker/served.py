"""What a pod answers with: the served release, and perhaps a canary beside it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from waypost.clock import Clock
from waypost.errors import TritonUnavailable
from waypost.objects.bundle import Manifest
from waypost.questions import Answer, Question
from waypost.release.answering import Answerer as ReleaseAnswerer
from waypost.stages import StageTimer
from waypost.worker.answerer import Answerer
from waypost.worker.canary import Comparison, latest_calls, takes_part
from waypost.worker.pod import Installed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Served:
    """A release that this pod's Triton has loaded and proven."""

    installed: Installed
    answerer: ReleaseAnswerer
    calls: deque[float] = field(default_factory=latest_calls)

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


class NobodyYet:
    """Before the first release: the requests go back on the queue."""

    model_version: int | None = None

    def answer(self, questions: Sequence[Question], stages: StageTimer) -> list[Answer]:
        raise TritonUnavailable("no release is loaded yet")


class ServedAnswerer:
    """The served release; what it takes is remembered, for the next one to be compared with."""

    def __init__(self, served: Served, comparison: Comparison | None, clock: Clock) -> None:
        self._served, self._comparison, self._clock = served, comparison, clock

    @property
    def model_version(self) -> int:
        return self._served.version

    def answer(self, questions: Sequence[Question], stages: StageTimer) -> list[Answer]:
        started = self._clock.monotonic()
        answers = self._served.answerer.answer(questions, stages)
        seconds = self._clock.monotonic() - started
        if self._comparison is None:
            self._served.calls.append(seconds)
        else:
            self._comparison.answered_by_old(answers, seconds)
        return answers


class CanaryAnswerer:
    """The canary; what it cannot answer, the served release answers."""

    def __init__(self, canary: Canary, old: Served, clock: Clock) -> None:
        self._canary, self._old, self._clock = canary, old, clock

    @property
    def model_version(self) -> int:
        return self._canary.served.version

    def answer(self, questions: Sequence[Question], stages: StageTimer) -> list[Answer]:
        comparison, started = self._canary.comparison, self._clock.monotonic()
        try:
            answers = self._canary.served.answerer.answer(questions, stages)
        except Exception as error:  # whatever a new release does wrong, its callers must not see it
            logger.warning("a canary did not answer, the release before it does", extra={"cause": str(error)})
            answers = self._old.answerer.answer(questions, stages)  # where this fails too, it is not the canary's fault
            comparison.failed(len(questions))
            return answers
        comparison.answered_by_new(questions, answers, self._clock.monotonic() - started)
        return answers


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
        (ServedAnswerer(served, canary.comparison, clock), rest),
        (CanaryAnswerer(canary, served, clock), tried),
    ]
    return [(answerer, part) for answerer, part in shared if part]
