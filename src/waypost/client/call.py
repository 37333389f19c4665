"""Calls: one question until its deadline: a first try, and at most one more at another gateway.

The second is sent when the first is later than 95 % of the latest were (a hedge), or at once when the first found
nobody, a closed connection, a 5xx or no answer worth the name. It comes out of a budget of 10 % of the calls, so that a
gateway that is slow for everybody is not asked twice by everybody. A 4xx is an answer: there is no second try.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

from waypost.client.addresses import Addresses
from waypost.client.answers import Recommendation
from waypost.client.asking import Asked
from waypost.client.exchange import Exchange, Failure, Outcome
from waypost.client.latencies import Latencies
from waypost.limits import MIN_DEADLINE_MS
from waypost.queueing.retry_budget import RetryBudget

# Kept back from the deadline for reading the answer and waking the caller; of a short one, a tenth.
RESERVE_SECONDS = 0.005
RESERVE_SHARE = 0.1
FIRST_HEDGE_SHARE = 0.5  # of the deadline, as long as nobody knows how long a try takes
SHORTEST_HEDGE_SECONDS = 0.005  # a p95 below that is noise of this machine
LEAST_SECONDS = MIN_DEADLINE_MS / 1_000  # a try with less is refused by the gateway
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Try:
    address: str
    began: float  # loop time


@dataclass
class _Race:
    """The tries of one call."""

    asked: Asked
    until: float  # loop time
    hedge_at: float
    running: dict[asyncio.Task[Outcome], _Try] = field(default_factory=dict)
    begun: list[_Try] = field(default_factory=list)


class Calls:
    """All calls of one client."""

    def __init__(
        self,
        gateways: str | Sequence[str],
        api_key: str | None,
        tls: ssl.SSLContext | None,
        budget: RetryBudget | None = None,
    ) -> None:
        """Raises BadSetup."""
        self._addresses = Addresses(gateways)
        self._exchange = Exchange(api_key, tls)
        self._latencies = Latencies()
        self._budget = budget or RetryBudget()

    async def ask(self, asked: Asked) -> Outcome:
        """An answer, the caller's own error, or why there is none; by the deadline. Raises only CancelledError."""
        race = self._begin(asked)
        try:
            outcome = await self._run(race)
            self._note_overtaken(race)
            return outcome
        except Exception:
            logger.exception("a call failed in an unforeseen way")
            return Failure("error", elsewhere=False)
        finally:
            for running in race.running:
                running.cancel()

    async def close(self) -> None:
        await self._exchange.close()

    def _begin(self, asked: Asked) -> _Race:
        now = _loop_time()
        seconds = asked.deadline_seconds
        seconds -= min(RESERVE_SECONDS, RESERVE_SHARE * seconds)
        late = self._latencies.p95
        wait = FIRST_HEDGE_SHARE * seconds if late is None else max(late, SHORTEST_HEDGE_SECONDS)
        self._budget.earn()
        race = _Race(asked, now + seconds, now + wait)
        self._try(race, _Try(self._addresses.next(now), now))
        return race

    async def _run(self, race: _Race) -> Outcome:
        failure = Failure("deadline", elsewhere=False)
        while race.running:
            patience = max(0.0, min(race.until, race.hedge_at) - _loop_time())
            done, _ = await asyncio.wait(race.running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            now = _loop_time()
            for task in done:
                outcome = self._ended(race.running.pop(task), task.result(), now)
                if not isinstance(outcome, Failure) or not outcome.elsewhere:
                    return outcome
                failure = outcome
            if now >= race.until:
                return Failure("deadline", elsewhere=False)
            if done or now >= race.hedge_at:
                self._try_again(race, now, free=bool(done) and isinstance(failure, Failure) and failure.untouched)
        return failure

    def _ended(self, tried: _Try, outcome: Outcome, now: float) -> Outcome:
        if isinstance(outcome, Failure) and outcome.elsewhere:
            self._addresses.failed(tried.address, tried.began, now)
        else:
            self._addresses.answered(tried.address)
        if isinstance(outcome, Recommendation):
            self._latencies.add(now - tried.began)
        return outcome

    def _try_again(self, race: _Race, now: float, free: bool) -> None:
        """A second try, where there is time and the budget allows it; one is free that burdens nobody more."""
        race.hedge_at = race.until
        if len(race.begun) > 1 or race.until - now < LEAST_SECONDS:
            return
        if not free and not self._budget.spend():
            return
        self._try(race, _Try(self._addresses.other(race.begun[0].address, now), now))

    def _try(self, race: _Race, tried: _Try) -> None:
        race.begun.append(tried)
        sending = self._exchange.try_once(tried.address, race.asked, race.until - tried.began)
        race.running[asyncio.create_task(sending)] = tried

    def _note_overtaken(self, race: _Race) -> None:
        """By another try or by the deadline; the younger of two that were had no time to show itself."""
        now = _loop_time()
        for tried in race.running.values():
            self._latencies.add(now - tried.began)
            if tried is race.begun[0]:
                self._addresses.failed(tried.address, tried.began, now)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
