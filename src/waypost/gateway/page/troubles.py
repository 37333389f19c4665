"""Troubles: what is wrong beyond a stage that got slower: no worker, a queue held back, degraded or late answers. Pure.

A degraded answer comes in time by its nature, so it proves nothing of the objective: an answer counts as good here if
the model ranked it within 250 ms. `with_troubles` puts what was found into the one sentence at the top of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from waypost.gateway.page.histograms import Counts
from waypost.gateway.page.slowness import ENOUGH, Kind, Verdict

OBJECTIVE_SECONDS, OBJECTIVE_SHARE = 0.25, 0.99  # the HTTP contract: 99 of 100 answers within it
DEGRADED_SHARE = 0.05  # of the answers; below, and with fewer than FEWEST of them, it is a hiccup
FEWEST = 3
NO_WORKER = "no worker on this machine"  # said by who looked; in a cluster it is so

RECOVERING, OPEN = 1.0, 2.0  # waypost_gateway_breaker_state


@dataclass(frozen=True)
class Traffic:
    """Answers of the last minutes."""

    by_model: Counts | None
    degraded: float

    @property
    def total(self) -> float:
        return (self.by_model.total if self.by_model else 0.0) + self.degraded

    @property
    def degraded_share(self) -> float | None:
        return self.degraded / self.total if self.total else None

    @property
    def good(self) -> float | None:
        """The share that the model ranked within the objective; None without answers."""
        if not self.total:
            return None
        return (self.by_model.up_to(OBJECTIVE_SECONDS) if self.by_model else 0.0) / self.total

    @property
    def met(self) -> bool | None:
        return None if self.good is None else self.good >= OBJECTIVE_SHARE

    @property
    def is_few(self) -> bool:
        """Too few for a p99 that says anything."""
        return 0 < self.total < ENOUGH


@dataclass(frozen=True)
class Trouble:
    headline: str
    sentence: str
    is_cause: bool = False  # of the others, rather than what they lead to


def troubles(
    traffic: Traffic, worker_ready: float | None, worker_trouble: str | None, breaker: float | None
) -> list[Trouble]:
    """Causes first. `worker_ready`: None where no worker was seen, and `worker_trouble` says why."""
    found = [_worker(worker_ready, worker_trouble), _breaker(breaker), _degraded(traffic, worker_trouble)]
    return [trouble for trouble in (*found, _late(traffic)) if trouble is not None]


def with_troubles(verdict: Verdict, found: Sequence[Trouble]) -> Verdict:
    """A stage that got slower is told first, unless there is a cause that it cannot be."""
    if not found:
        return verdict
    sentences = " ".join(trouble.sentence for trouble in found)
    kind: Kind = "slow" if verdict.kind == "slow" else "bad"
    headline = verdict.headline if verdict.kind == "slow" and not found[0].is_cause else found[0].headline
    if verdict.kind == "calm":
        whole = f"{sentences} {verdict.headline}. {verdict.sentence}"
    elif headline == verdict.headline:
        whole = f"{verdict.sentence} {sentences}"
    else:
        whole = f"{sentences} {verdict.sentence}"
    return replace(verdict, kind=kind, headline=headline, sentence=whole)


def _worker(ready: float | None, trouble: str | None) -> Trouble | None:
    if trouble is not None and trouble != NO_WORKER:
        return Trouble("The worker does not answer", f"The worker cannot be asked ({trouble}).", is_cause=True)
    if ready is not None and ready < 1:
        sentence = "The worker answers no request: it has no release yet, or its Triton does not answer."
        return Trouble("No worker is ready", sentence, is_cause=True)
    return None


def _breaker(state: float | None) -> Trouble | None:
    if state == OPEN:
        sentence = "The gateway holds requests back: the queue fails, or no worker replies."
    elif state == RECOVERING:
        sentence = "The gateway lets only a part of the requests through, more by the moment: replies come again."
    else:
        return None
    return Trouble("The gateway holds requests back", sentence)


def _degraded(traffic: Traffic, worker_trouble: str | None) -> Trouble | None:
    share = traffic.degraded_share
    if share is None or share < DEGRADED_SHARE or traffic.degraded < FEWEST:
        return None
    where = f"; there is {worker_trouble}" if worker_trouble == NO_WORKER else ""
    what = f"{percent(share)} of the last {traffic.total:.0f} answers are degraded"
    return Trouble("Answers are degraded", f"{what}: popular posts in place of the model's{where}.")


def _late(traffic: Traffic) -> Trouble | None:
    """Missed by more than what is degraded, which has its own sentence."""
    if traffic.by_model is None or traffic.is_few:
        return None
    late = traffic.by_model.total - traffic.by_model.up_to(OBJECTIVE_SECONDS)
    if late < FEWEST or late <= (1 - OBJECTIVE_SHARE) * traffic.total:
        return None
    sentence = f"{percent(late / traffic.total)} of the answers took longer than {OBJECTIVE_SECONDS * 1_000:.0f} ms."
    return Trouble("The objective is missed", sentence)


def percent(share: float) -> str:
    """Of a share below one in a hundred a decimal, and never 100 % of what is less."""
    value = share * 100
    if 0 < value < 1:
        return f"{value:.1f} %"
    return f"{min(round(value), 99) if value < 100 else 100} %"
