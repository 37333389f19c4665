"""A light closed loop on the gateway beside a look at the worker's readiness twenty times a second: when was a fault
noticed, when did the model answer again, and what did callers get meanwhile."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CALLERS = 4
THINK_SECONDS = 0.02
LOOK_SECONDS = 0.05
WINDOW_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
COLUMNS = f"{'fault':<46} {'noticed':>8} {'model back':>10} {'answers':>8} {'degraded':>8} {'not 200':>8}"
REPORT: list[str] = []


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    begun: float  # monotonic seconds
    ended: float
    status: int  # 0: no answer at all
    by_model: bool
    version: int | None


@dataclass(frozen=True)
class Outcome:
    noticed: float | None  # seconds from the fault to the worker's "not ready"; None: it stayed ready
    back: float | None  # seconds from the fault until the model answers for good; None: it did not
    answers: list[Seen]

    @property
    def statuses(self) -> Counter[int]:
        return Counter(seen.status for seen in self.answers)

    @property
    def degraded(self) -> int:
        return sum(seen.status == 200 and not seen.by_model for seen in self.answers)


class Watch:
    """Runs until `stop`; `since` tells what happened after a moment."""

    def __init__(self, gateway_url: str, users: Sequence[int], worker_file: Path) -> None:
        self._gateway, self._users, self._worker_file = urlsplit(gateway_url), users, worker_file
        self._seen: list[Seen] = []
        self._readiness: list[tuple[float, bool]] = []
        self._over = threading.Event()
        calls = [threading.Thread(target=self._call, args=(number,), daemon=True) for number in range(CALLERS)]
        self._threads = [*calls, threading.Thread(target=self._look, daemon=True)]

    @contextmanager
    def running(self) -> Iterator[Watch]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(timeout=30)

    def until_well(self, since: float, seconds: float = 2.0) -> None:
        """Wait until the worker was ready and only the model answered for so long; gives up after a while."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            now = time.monotonic()
            calls = [seen for seen in list(self._seen) if seen.ended > now - seconds]
            looks = [ready for at, ready in list(self._readiness) if at > now - seconds]
            if now - since > seconds and calls and looks and all(looks) and all(seen.by_model for seen in calls):
                return
            time.sleep(LOOK_SECONDS)

    def since(self, fault: float) -> Outcome:
        """Noticed: the first "not ready". Back: the first model answer after the last "not ready", and after callers
        last had mostly other answers; a single late one is no outage: Triton shares two cores with all the rest."""
        after = sorted((seen for seen in list(self._seen) if seen.ended >= fault), key=lambda seen: seen.ended)
        unready = [at for at, ready in list(self._readiness) if at >= fault and not ready]
        over = max([fault, *unready, *_outages(after, fault)])
        by_model = [seen.ended - fault for seen in after if seen.by_model and seen.begun >= over]
        noticed = min(unready) - fault if unready else None
        return Outcome(noticed, min(by_model, default=None), after)

    def _call(self, number: int) -> None:
        choose = random.Random(number)
        connection = self._connected()
        while not self._over.is_set():
            begun = time.monotonic()
            try:
                self._seen.append(_ask(connection, choose.choice(self._users)))
            except (OSError, http.client.HTTPException, ValueError):
                self._seen.append(Seen(begun, time.monotonic(), 0, False, None))
                connection.close()  # it connects again by itself
            self._over.wait(THINK_SECONDS)
        connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._gateway.hostname or "", self._gateway.port, timeout=15)

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            at = time.monotonic()
            self._readiness.append((at, self._ready()))

    def _ready(self) -> bool:
        try:
            url = urlsplit(json.loads(self._worker_file.read_text())["metrics_url"])
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=2)
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return False


def _ask(connection: http.client.HTTPConnection, user: int) -> Seen:
    begun = time.monotonic()
    connection.request("POST", "/recommend", json.dumps({"user_id": user}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    by_model = response.status == 200 and not answer["degraded"]
    return Seen(begun, time.monotonic(), response.status, by_model, answer["model_version"] if by_model else None)


def _outages(answers: Sequence[Seen], fault: float) -> list[float]:
    """Ends of the half seconds in which most answers came from elsewhere."""
    windows: defaultdict[int, list[bool]] = defaultdict(list)
    for seen in answers:
        windows[int((seen.ended - fault) / WINDOW_SECONDS)].append(seen.by_model)
    bad = [number for number, by_model in windows.items() if 2 * sum(by_model) < len(by_model)]
    return [fault + (number + 1) * WINDOW_SECONDS for number in bad]


def report(fault: str, outcome: Outcome) -> None:
    noticed = "never" if outcome.noticed is None else f"{outcome.noticed:.2f}"
    back = "never" if outcome.back is None else f"{outcome.back:.2f}"
    others = sum(count for status, count in outcome.statuses.items() if status != 200)
    line = f"{fault:<46} {noticed:>8} {back:>10} {len(outcome.answers):>8} {outcome.degraded:>8} {others:>8}"
    REPORT.append(line)
    print(f"\n{line}", flush=True)


def drilled(watch: Watch, fault: str, act: Callable[[], None]) -> Outcome:
    """Do the harm, wait until all is well again, tell what happened."""
    watch.until_well(time.monotonic())
    at = time.monotonic()
    act()
    watch.until_well(at)
    outcome = watch.since(at)
    report(fault, outcome)
    return outcome
