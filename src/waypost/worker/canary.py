"""A canary: a new release answers a share of the requests beside the one it is to replace, and is compared with it.

Which requests it gets is a hash of their ids, so every pod chooses alike and a retry is answered by the same release.
A request that the new release cannot answer is answered by the old one at once. Pure, but for the clock that it is
given: the follower acts on what `verdict` says."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from waypost.clock import Clock
from waypost.questions import Answer, Question

FEW = 20  # answers, below which a share says nothing
LEAST_SLOW = 4  # calls: fewer may have met a busy moment of the machine
LEAST_CALLS = 30  # of the new release, before its times are judged and its trial may end early
FAILED_CALLS = 2  # in a row: each may have taken the whole timeout, and everybody waits for it
FAILED_ANSWERS = 3  # fewer are no share
REMEMBERED = 1_000  # latest calls of each release whose times are compared
WAITING_QUESTIONS = 64  # to be asked of the old release too, when there is time
COMPARED_POSTS, LEAST_COMPARED_POSTS = 20, 5


@dataclass(frozen=True)
class CanaryLimits:
    """Past any of these the new release is given up."""

    share: float = 0.1  # of the requests; 0: no canary, a new release is switched to at once
    seconds: float = 10.0  # at most, from the moment it is loaded
    answers: int = 500  # after which it need not go on
    max_slower_seconds: float = 0.05  # its p99 over that of the old release
    max_error_share: float = 0.01  # requests that it could not answer
    max_empty_share: float = 0.02  # lists without a post, over the old release's share of them
    min_overlap: float = 0.02  # of its first posts with those of the old release, on average


@dataclass(frozen=True)
class Verdict:
    state: Literal["running", "passed", "failed"]
    reason: str = ""


RUNNING, PASSED = Verdict("running"), Verdict("passed")


def latest_calls() -> deque[float]:
    """Seconds of each."""
    return deque(maxlen=REMEMBERED)


@dataclass
class Side:
    """What one of the two releases did."""

    answers: int = 0
    errors: int = 0
    empty: int = 0
    unranked: int = 0  # answered by popularity, although there was a model
    seconds: deque[float] = field(default_factory=latest_calls)

    @property
    def error_share(self) -> float:
        return self.errors / max(1, self.answers + self.errors)

    @property
    def empty_share(self) -> float:
        return self.empty / max(1, self.answers)

    @property
    def unranked_share(self) -> float:
        return self.unranked / max(1, self.answers)

    def p99(self) -> float:
        """Seconds of a call."""
        return float(np.percentile(np.fromiter(self.seconds, float), 99)) if self.seconds else math.nan


@dataclass(frozen=True)
class Shadow:
    """A question that the new release answered, to be asked of the old one as well."""

    question: Question
    answer: Answer


class Comparison:
    """Of a new release with the old one. Safe for use by several threads.

    `old_calls` is what the old release took before: a trial is short, and a p99 of a few calls is one busy moment.
    """

    def __init__(self, limits: CanaryLimits, clock: Clock, old_calls: deque[float]) -> None:
        self._limits, self._clock, self._started = limits, clock, clock.monotonic()
        self.new, self.old = Side(), Side(seconds=old_calls)
        self._shadows: deque[Shadow] = deque(maxlen=WAITING_QUESTIONS)
        self._overlaps: deque[float] = deque(maxlen=REMEMBERED)
        self._failed_calls = 0  # in a row
        self._lock = threading.Lock()

    def answered_by_new(self, questions: Sequence[Question], answers: Sequence[Answer], seconds: float) -> None:
        """`seconds` is what these waited: they were answered in one call."""
        with self._lock:
            self._failed_calls = 0
            _count(self.new, answers, seconds)
            pairs = zip(questions, answers, strict=True)
            self._shadows.extend(Shadow(question, answer) for question, answer in pairs if _tells_taste(answer))

    def answered_by_old(self, answers: Sequence[Answer], seconds: float) -> None:
        with self._lock:
            _count(self.old, answers, seconds)

    def failed(self, count: int) -> None:
        """So many questions, asked in one call, that the new release could not answer."""
        with self._lock:
            self.new.errors += count
            self._failed_calls += 1

    def take_shadows(self) -> list[Shadow]:
        """Questions to be asked of the old release too; each is given once."""
        with self._lock:
            taken = list(self._shadows)
            self._shadows.clear()
            return taken

    def compared(self, shadows: Sequence[Shadow], answers: Sequence[Answer]) -> None:
        """The old release's answers to those questions."""
        with self._lock:
            self._overlaps += [overlap(one.answer, old) for one, old in zip(shadows, answers, strict=True)]

    def verdict(self) -> Verdict:
        """What breaks a limit ends it at once; times are judged when there is a tail to speak of, or at the end."""
        with self._lock:
            problems = [*self._wrong(), *self._slow()]
            if problems:
                return Verdict("failed", "; ".join(problems))
            return PASSED if self._is_over() else RUNNING

    def _is_over(self) -> bool:
        if self._clock.monotonic() - self._started >= self._limits.seconds:
            return True
        return self.new.answers >= self._limits.answers and self._has_calls() and len(self._overlaps) >= FEW

    def _has_calls(self) -> bool:
        return len(self.new.seconds) >= LEAST_CALLS

    def _wrong(self) -> list[str]:
        limits = self._limits
        problems: list[str] = []
        if self._failed_calls >= FAILED_CALLS:
            problems.append(f"it failed {self._failed_calls} times in a row")
        if self.new.errors >= FAILED_ANSWERS and self.new.error_share > limits.max_error_share:
            problems.append(f"{self.new.error_share:.1%} of its requests failed, at most {limits.max_error_share:.1%}")
        rise = self.new.empty_share - self.old.empty_share
        if min(self.new.answers, self.old.answers) >= FEW and rise > limits.max_empty_share:
            problems.append(f"{self.new.empty_share:.1%} of its lists are empty, {self.old.empty_share:.1%} before it")
        rise = self.new.unranked_share - self.old.unranked_share
        if min(self.new.answers, self.old.answers) >= FEW and rise > limits.max_empty_share:
            problems.append(
                f"{self.new.unranked_share:.1%} of its lists are popularity, {self.old.unranked_share:.1%} before it"
            )
        if len(self._overlaps) >= FEW and (mean := float(np.mean(self._overlaps))) < limits.min_overlap:
            problems.append(
                f"its lists share {mean:.1%} of their posts with those before it, at least {limits.min_overlap:.1%}"
            )
        return problems

    def _slow(self) -> list[str]:
        """More than one call in a hundred over the limit: a p99 over it, said so that few calls can be judged too."""
        new, old, limit = self.new.p99(), self.old.p99(), self._limits.max_slower_seconds
        slow = sum(seconds > old + limit for seconds in self.new.seconds)
        calls = len(self.new.seconds)
        mostly = 2 * slow >= calls  # no need to wait for more
        if len(self.old.seconds) < FEW or slow < max(LEAST_SLOW, 0.01 * calls):
            return []
        if not (mostly or self._has_calls() or self._is_over()):
            return []
        return [f"its p99 is {1e3 * new:.0f} ms, {1e3 * old:.0f} ms before it, at most {1e3 * limit:.0f} more"]


def takes_part(request_id: str, share: float) -> bool:
    """Whether this request is one of the canary's."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def overlap(one: Answer, other: Answer) -> float:
    """Share of the shorter list's first posts that the other has among its first."""
    first, second = ({post for post, _ in answer.items[:COMPARED_POSTS]} for answer in (one, other))
    return len(first & second) / max(1, min(len(first), len(second)))


def _tells_taste(answer: Answer) -> bool:
    return answer.source == "graphsage" and len(answer.items) >= LEAST_COMPARED_POSTS


def _count(side: Side, answers: Sequence[Answer], seconds: float) -> None:
    side.answers += len(answers)
    side.empty += sum(not answer.items for answer in answers)
    side.unranked += sum(answer.source != "graphsage" for answer in answers)
    side.seconds.append(seconds)
