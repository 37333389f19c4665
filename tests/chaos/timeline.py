"""Timeline: a history looked up by process, request and number, as the rules need it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from functools import cached_property

from tests.chaos.history import (
    Deleted,
    Delivered,
    Fault,
    History,
    Hostile,
    Inferred,
    Process,
    Released,
    Replied,
    Sent,
    Starved,
    overlaps,
    spans,
)

TAKEN = 204
LOOK_SECONDS = 0.1  # from one look at a process' threads to the next, on a busy machine
GONE_SECONDS = 2.5  # a call of a reply that hangs, and for how long a worker then leaves that gateway alone
Periods = list[tuple[float, float]]


class Timeline:
    def __init__(self, history: History) -> None:
        self.history = history
        self._spans: dict[tuple[str, str], Periods] = {}

    @cached_property
    def processes(self) -> list[Process]:
        return self.history.of(Process)

    @cached_property
    def sent(self) -> dict[str, Sent]:
        """The first sending of each request."""
        found: dict[str, Sent] = {}
        for one in self.history.of(Sent):
            found.setdefault(one.request, one)
        return found

    @cached_property
    def requests_of(self) -> dict[int, list[Sent]]:
        """By number; a caller who retries makes two requests of one number."""
        found: defaultdict[int, list[Sent]] = defaultdict(list)
        for one in self.sent.values():
            found[one.number].append(one)
        return found

    @cached_property
    def replies(self) -> dict[str, list[Replied]]:
        found: defaultdict[str, list[Replied]] = defaultdict(list)
        for one in self.history.of(Replied):
            found[one.request].append(one)
        return found

    @cached_property
    def inferred(self) -> dict[int, list[Inferred]]:
        found: defaultdict[int, list[Inferred]] = defaultdict(list)
        for one in self.history.of(Inferred):
            found[one.number].append(one)
        return found

    @cached_property
    def delivered(self) -> list[Delivered]:
        return self.history.of(Delivered)

    @cached_property
    def deliveries_of(self) -> dict[str, list[Delivered]]:
        found: defaultdict[str, list[Delivered]] = defaultdict(list)
        for one in self.delivered:
            found[one.request].append(one)
        return found

    @cached_property
    def _refusals(self) -> dict[str, list[float]]:
        """When a worker tried in vain to reply to a gateway."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for one in self.history.of(Replied):
            if one.origin == "worker" and one.status != TAKEN:
                found[one.gateway].append(one.at)
        return found

    def refused_replies(self, gateway: str, begin: float, end: float) -> bool:
        """Whether that gateway took no reply of a worker's meanwhile, or had not a moment before."""
        at = self._refusals.get(gateway, [])
        return bisect_right(at, end) > bisect_right(at, begin - GONE_SECONDS)

    @cached_property
    def done(self) -> dict[str, list[float]]:
        """When each delivery was deleted or released, by its handle."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for deleted in self.history.of(Deleted):
            found[deleted.handle].append(deleted.at)
        for released in self.history.of(Released):
            found[released.handle].append(released.at)
        return found

    @cached_property
    def hostile(self) -> dict[str, Hostile]:
        return {one.request: one for one in self.history.of(Hostile)}

    @cached_property
    def faults(self) -> list[Fault]:
        return self.history.of(Fault)

    @cached_property
    def _starved(self) -> dict[str, list[Starved]]:
        found: defaultdict[str, list[Starved]] = defaultdict(list)
        for one in self.history.of(Starved):
            found[one.name].append(one)
        return found

    def starved(self, name: str, begin: float, end: float) -> float:
        """Seconds that the machine kept a process waiting, as far as the looks that touch this time can tell."""
        near = (one for one in self._starved.get(name, ()) if begin <= one.at <= end + LOOK_SECONDS)
        return sum(one.seconds for one in near)

    def down(self, name: str) -> Periods:
        """Killed, until it was ready again."""
        return self._periods(name, "down", ("killed", "died"), ("ready",))

    def halted(self, name: str) -> Periods:
        return self._periods(name, "halted", ("stopped",), ("continued", "killed"))

    def hurt(self, name: str) -> Periods:
        """Killed or stopped."""
        return self.down(name) + self.halted(name)

    @cached_property
    def gateways(self) -> list[str]:
        return sorted({event.name for event in self.processes if event.name.startswith("gateway")})

    def ending(self, name: str) -> Periods:
        """From the wish that it stop until its successor was ready."""
        return self._periods(name, "ending", ("asked to stop",), ("ready",))

    def starting(self, name: str) -> Periods:
        return self._periods(name, "starting", ("started",), ("ready",))

    def incarnation(self, name: str, at: float) -> int:
        """How often it had been started by then."""
        starts = [event.at for event in self.processes if event.name == name and event.what == "started"]
        return bisect_right(starts, at)

    def faulty(self, targets: tuple[str, ...], begin: float, end: float) -> bool:
        """Whether something was done to one of these meanwhile, or its aftermath may last."""
        return overlaps([(one.at, one.until) for one in self.faults if one.target in targets], begin, end)

    def _periods(self, name: str, key: str, begin: tuple[str, ...], end: tuple[str, ...]) -> Periods:
        found = self._spans.get((name, key))
        if found is None:
            found = self._spans[name, key] = spans(self.processes, name, begin, end)
        return found
