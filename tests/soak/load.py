"""Callers that never rest, and somebody who watches the pods meanwhile."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlparse

ASK_SECONDS = 30.0
WATCH_SECONDS = 0.05


@dataclass(frozen=True)
class Outcome:
    """One request as its caller saw it."""

    at: float  # on the monotonic clock, when it was answered
    seconds: float
    status: int  # 0: no answer at all
    source: str
    degraded: bool
    version: int | None


@dataclass
class Load:
    """A closed loop: so many callers, each of which asks again once it was answered and has rested."""

    url: str
    users: Sequence[int]
    callers: int = 16
    deadline_ms: int = 2_000
    rest_seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(self.callers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * ASK_SECONDS)

    def kinds(self) -> Counter[str]:
        """How many requests were answered how."""
        return Counter(_kind(outcome) for outcome in list(self.outcomes))

    def without_model(self) -> list[Outcome]:
        return [one for one in list(self.outcomes) if one.status != 200 or one.source != "graphsage" or one.degraded]

    def versions_since(self, at: float) -> set[int | None]:
        return {one.version for one in list(self.outcomes) if one.at >= at}

    def p99(self) -> float:
        """Seconds."""
        seconds = sorted(one.seconds for one in list(self.outcomes))
        return seconds[int(0.99 * len(seconds))] if seconds else 0.0

    def _call(self, number: int) -> None:
        where = urlparse(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=ASK_SECONDS)
        turn = number
        while not self._stop.is_set():
            turn += self.callers
            user = self.users[turn % len(self.users)]
            started = time.monotonic()
            try:
                self.outcomes.append(self._ask(connection, user, started))
            except (OSError, http.client.HTTPException):
                self.outcomes.append(Outcome(time.monotonic(), time.monotonic() - started, 0, "", False, None))
                connection.close()
            self._stop.wait(self.rest_seconds)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, user: int, started: float) -> Outcome:
        body = json.dumps({"user_id": user, "k": 10, "deadline_ms": self.deadline_ms})
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = json.loads(response.read())
        now = time.monotonic()
        return Outcome(
            now,
            now - started,
            response.status,
            str(said.get("source")),
            bool(said.get("degraded")),
            said.get("model_version"),
        )


def _kind(outcome: Outcome) -> str:
    if outcome.status != 200:
        return f"HTTP {outcome.status}"
    return "degraded" if outcome.degraded else outcome.source


class Watch:
    """Asks the probes all the time; a context manager. `lost` says when which of them was not well."""

    def __init__(self, probes: Sequence[str]) -> None:
        self._probes, self._stop = probes, threading.Event()
        self.asked, self.lost = 0, list[tuple[float, str]]()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(ASK_SECONDS)

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            for probe in self._probes:
                self.asked += 1
                if not is_well(probe):
                    self.lost.append((time.monotonic(), probe))


def is_well(probe: str) -> bool:
    try:
        with urllib.request.urlopen(probe, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def resident_bytes(root: int) -> int:
    """Memory of a process and of all that descend from it, shared pages counted once each."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            for line in (Path("/proc") / str(process) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until it holds; seconds it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - started
