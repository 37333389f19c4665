"""Breaker: stops asking a queue that is dead, so that callers get their degraded answer at once, and finds out by
itself when it lives again.

Two things tell that it is dead: sends fail and none succeeds, or requests are sent and no reply comes to any of them.
A request whose caller is in too much of a hurry proves nothing by staying unanswered: the worker drops it. While open,
one request now and then is a probe; a sign of life opens the way for a small share of requests, which doubles as long
as such signs come. Pure: time is a parameter, monotonic seconds. All on the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from waypost.metrics import GatewayMetrics

logger = logging.getLogger(__name__)
State = Literal["closed", "recovering", "open"]
STATES: tuple[State, ...] = ("closed", "recovering", "open")  # 0, 1 and 2 as a metric
PATIENT_SECONDS = 0.15  # who waits this long can expect an answer: a whole way takes some 30 ms
SILENCE_SECONDS = 1.5  # without any reply; with the wait for the next request it is noticed within 2 s
SILENT_REQUESTS = 8  # unanswered, with patience: fewer are a hiccup
FAILED_SENDS = 3  # in a row
FAILING_SECONDS = 0.5  # for so long: one moment's resets are a hiccup
FAILED_SENDS_RECOVERING = 2  # in a row, while only few are let through
PROBE_SECONDS = 0.5  # between two probes
HASTY_PROBE_SECONDS = 2.0  # so much later one in a hurry is a probe too: there may be no others
FIRST_SHARE = 0.1  # of the requests, once there was a sign of life
GROWTH, GROWTH_SECONDS = 2.0, 0.25  # the share doubles no faster than this: 10 % to all in a second


class Breaker:
    def __init__(self, changed: Callable[[State], None] = lambda state: None) -> None:
        self.state: State = "closed"
        self._changed = changed
        self._unanswered: list[float] = []  # when the first patient requests since the last reply were asked
        self._failed, self._failing_since = 0, 0.0
        self._silent = False  # why it is open: no replies, else failing sends
        self._next_probe = 0.0
        self._share, self._credit, self._next_growth = 1.0, 0.0, 0.0

    def admits(self, now: float, patience_seconds: float) -> bool:
        """Whether this request, which can wait so long, is to be asked; if so it counts as asked."""
        patient = patience_seconds >= PATIENT_SECONDS
        if self.state != "open" and self._is_silent(now):
            self._open(now, silent=True)
        if not self._lets_through(now, patient):
            return False
        if patient and len(self._unanswered) < SILENT_REQUESTS:
            self._unanswered.append(now)
        return True

    def sent(self, now: float) -> None:
        """The queue took a batch, or part of one."""
        self._failed = 0
        if self.state != "closed" and not self._silent:
            self._lives(now)

    def send_failed(self, now: float) -> None:
        """The queue could not be reached or took nothing."""
        if self._failed == 0:
            self._failing_since = now
        self._failed += 1
        lasting = self._failed >= FAILED_SENDS and now - self._failing_since >= FAILING_SECONDS
        if (self.state == "closed" and lasting) or (
            self.state == "recovering" and self._failed >= FAILED_SENDS_RECOVERING
        ):
            self._open(now, silent=False)

    def replied(self, now: float) -> None:
        """A reply came, to whomever and however late."""
        self._unanswered.clear()
        if self.state != "closed":
            self._lives(now)

    def _is_silent(self, now: float) -> bool:
        asked = self._unanswered
        return (
            len(asked) == SILENT_REQUESTS and now - asked[0] >= SILENCE_SECONDS and now - asked[-1] >= PATIENT_SECONDS
        )

    def _lets_through(self, now: float, patient: bool) -> bool:
        if self.state == "closed":
            return True
        if self.state == "recovering":
            self._credit += self._share
            if self._credit < 1.0:
                return False
            self._credit -= 1.0
            return True
        waits = HASTY_PROBE_SECONDS if self._silent and not patient else 0.0
        if now < self._next_probe + waits:
            return False
        self._next_probe = now + PROBE_SECONDS
        return True

    def _open(self, now: float, silent: bool) -> None:
        self._silent, self._next_probe = silent, now + PROBE_SECONDS
        self._unanswered.clear()
        self._failed = 0
        self._become("open")

    def _lives(self, now: float) -> None:
        if self.state == "open":
            self._share, self._credit, self._next_growth = FIRST_SHARE, 1.0, now + GROWTH_SECONDS
            self._become("recovering")
        elif now >= self._next_growth:
            self._share, self._next_growth = self._share * GROWTH, now + GROWTH_SECONDS
            if self._share >= 1.0:
                self._become("closed")

    def _become(self, state: State) -> None:
        self.state = state
        self._changed(state)


def show_breaker(metrics: GatewayMetrics, state: State) -> None:
    """What changed, for on-call."""
    metrics.breaker_state.set(STATES.index(state))
    metrics.breaker_changes.labels(state).inc()
    logger.warning("the breaker changed", extra={"state": state})
