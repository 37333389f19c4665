"""The load generator: a process of its own that asks one gateway over loopback, and what it cost itself.

Written for this, because a client that costs as much as the server would halve what two cores can show: a connection
is one protocol class on uvloop, a request two joined byte strings, a response is read by its head's Content-Length and
told by a few bytes of its body. No library parses, no coroutine or task is made per request. (httpx and aiohttp take
0.3 to 1 ms of processor time a request.) Only our own gateway's HTTP is understood.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from bench.commands import serve

HEAD_END, LENGTH = b"\r\n\r\n", b"content-length:"
MODEL, DEGRADED = b'"source":"graphsage"', b'"degraded":true'
LEFT_SECONDS = 15.0  # for answers that are still out when the load ends; the longest deadline and some
IDLE_LOOK_SECONDS = 0.01
MOST_CONNECTIONS = 4_000  # of an open loop; a request past them counts as unanswered


@dataclass
class Outcomes:
    """Of every request, in the order of their ends."""

    seconds: array[float] = field(default_factory=lambda: array("d"))  # from the intended send time
    intended: array[float] = field(default_factory=lambda: array("d"))  # seconds since the load began
    kinds: list[str] = field(default_factory=list)
    late_sends: float = 0.0  # the most that a request was sent after its intended time

    def note(self, kind: str, intended: float, seconds: float) -> None:
        self.kinds.append(kind)
        self.intended.append(intended)
        self.seconds.append(seconds)


class Connection(asyncio.Protocol):
    """One request at a time; `on_answer` is told of each and may ask the next."""

    def __init__(self, outcomes: Outcomes, on_answer: Callable[[Connection], None]) -> None:
        self._outcomes, self._on_answer = outcomes, on_answer
        self._read, self._whole = b"", 0  # what came, and how long head and body are; 0: the head is not whole
        self._intended = self._began = 0.0
        self.busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def ask(self, request: bytes, intended: float, began: float) -> None:
        """`intended`: monotonic seconds at which it should leave; `began`: at which the load did."""
        assert self._transport is not None
        self._intended, self._began, self.busy = intended, began, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        read = self._read + data if self._read else data
        if not self._whole:
            self._whole = _length(read)
        if not self._whole or len(read) < self._whole:
            self._read = read
            return
        self._read, self._whole = b"", 0
        self._note(_kind(read))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.busy:
            self._note("closed")

    @property
    def open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _note(self, kind: str) -> None:
        self.busy = False
        self._outcomes.note(kind, self._intended - self._began, time.monotonic() - self._intended)
        self._on_answer(self)


def _length(read: bytes) -> int:
    """Of head and body; 0 as long as the head is not whole."""
    end = read.find(HEAD_END)
    if end < 0:
        return 0
    start = read.find(LENGTH) + len(LENGTH)
    return end + len(HEAD_END) + int(read[start : read.index(b"\r\n", start)])


def _kind(response: bytes) -> str:
    """`graphsage`, `degraded`, `popular`, or the status of an answer that is not 200."""
    status = response[9:12]
    if status != b"200":
        return status.decode()
    if DEGRADED in response:
        return "degraded"
    return "graphsage" if MODEL in response else "popular"


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    users: Sequence[int]  # the first and the last id
    deadline_ms: int
    varied: bool = False  # now and then with recent posts, excludes, tags or a query, as apps ask

    def requests(self, seed: int) -> Iterator[bytes]:
        """Users drawn at random, each asked with the defaults that an app would leave alone."""
        choose = random.Random(seed)
        head = (
            f"POST /recommend HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n".encode()
        )
        template = head + b"Content-Length: %d\r\n\r\n%b"
        first, last = self.users
        while True:
            more = choose.choice(MORE) if self.varied else b""
            body = b'{"user_id":%d,"k":20,"deadline_ms":%d%b}' % (choose.randint(first, last), self.deadline_ms, more)
            yield template % (len(body), body)


MORE = (
    b"", b"", b"",
    b',"recent_post_ids":[5000001,5000002,5000003]',
    b',"exclude_post_ids":[%b]' % b",".join(b"%d" % post for post in range(5_000_000, 5_000_200)),
    b',"tags":{"any":["tag 1","tag 2"],"none":["tag 3"]}',
    b',"query":"a quiet beach by train"',
    b',"exclude_seen":false',
)  # fmt: skip


class Closed:
    """So many connections, each of which asks again as soon as it was answered."""

    def __init__(self, target: Target, concurrency: int) -> None:
        self.outcomes, self._requests = Outcomes(), target.requests(0)
        self._target, self._concurrency = target, concurrency
        self._end = self._began = 0.0

    async def run(self, seconds: float) -> None:
        connections = [await _connected(self._target, self.outcomes, self._answered) for _ in range(self._concurrency)]
        self._began = time.monotonic()
        self._end = self._began + seconds
        for connection in connections:
            connection.ask(next(self._requests), time.monotonic(), self._began)
        await _until_idle(connections, self._end)

    def _answered(self, connection: Connection) -> None:
        now = time.monotonic()
        if now < self._end and connection.open:
            connection.ask(next(self._requests), now, self._began)


@dataclass(frozen=True)
class Phase:
    rate: float  # requests/s
    seconds: float


class Open:
    """Requests at their intended times whatever became of those before; gaps are exponential, as of many callers."""

    def __init__(self, target: Target, phases: Sequence[Phase]) -> None:
        self.outcomes, self._requests, self._target = Outcomes(), target.requests(1), target
        self.phases, self._idle, self._connections = phases, list[Connection](), list[Connection]()

    async def run(self) -> None:
        loop, began, connecting = asyncio.get_running_loop(), time.monotonic(), set[asyncio.Task[None]]()
        for after in _intended(self.phases):
            intended = began + after
            if (wait := intended - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self.outcomes.late_sends = max(self.outcomes.late_sends, time.monotonic() - intended)
            if not self._ask_idle(intended, began):
                task = loop.create_task(self._ask_new(intended, began))
                connecting.add(task)
                task.add_done_callback(connecting.discard)
        if connecting:
            await asyncio.wait(connecting, timeout=LEFT_SECONDS)
        await _until_idle(self._connections, time.monotonic())

    def _ask_idle(self, intended: float, began: float) -> bool:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                connection.ask(next(self._requests), intended, began)
                return True
        return False

    async def _ask_new(self, intended: float, began: float) -> None:
        if len(self._connections) < MOST_CONNECTIONS:
            connection = await _connected(self._target, self.outcomes, self._idle.append)
            self._connections.append(connection)
            connection.ask(next(self._requests), intended, began)
        else:
            self.outcomes.note("no connection", intended - began, time.monotonic() - intended)


def _intended(phases: Sequence[Phase]) -> Iterator[float]:
    """Seconds since the start, ascending."""
    gaps, end = random.Random(2), 0.0
    for phase in phases:
        at, end = end, end + phase.seconds
        while (at := at + gaps.expovariate(phase.rate)) < end:
            yield at


async def _connected(target: Target, outcomes: Outcomes, on_answer: Callable[[Connection], None]) -> Connection:
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(lambda: Connection(outcomes, on_answer), target.host, target.port)
    return made


async def _until_idle(connections: Sequence[Connection], end: float) -> None:
    """Wait for `end` and then for the last answers, and close; what is still out then counts as closed."""
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    last = time.monotonic() + LEFT_SECONDS
    while any(connection.busy for connection in connections) and time.monotonic() < last:  # noqa: ASYNC110
        await asyncio.sleep(IDLE_LOOK_SECONDS)
    for connection in connections:
        connection.close()
    await asyncio.sleep(0)


def run_closed(target: Mapping[str, Any], concurrency: int, seconds: float) -> Closed:
    load = Closed(_target(**target), concurrency)
    _run(load.run(seconds))
    return load


def run_open(target: Mapping[str, Any], phases: Sequence[Sequence[float]]) -> Open:
    load = Open(_target(**target), [Phase(*phase) for phase in phases])
    _run(load.run())
    return load


def _target(url: str, **facts: Any) -> Target:
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1", "only this machine is loaded"
    assert parts.port is not None
    return Target(parts.hostname, parts.port, **facts)


def _run(load: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load)


def describe_closed(load: Closed) -> dict[str, Any]:
    return _described(load.outcomes, 0.0, float("inf"))


def describe_open(load: Open) -> dict[str, Any]:
    """Of the whole, and of each phase by the intended times."""
    ends = list(itertools.accumulate(phase.seconds for phase in load.phases))
    starts = [0.0, *ends[:-1]]
    phases = [_described(load.outcomes, *span) for span in zip(starts, ends, strict=True)]
    whole = _described(load.outcomes, 0.0, float("inf"))
    return {**whole, "late_sends": load.outcomes.late_sends, "phases": phases}


def _described(outcomes: Outcomes, start: float, end: float) -> dict[str, Any]:
    """Counts by kind; percentiles of all answers, in seconds; how many were the model's and inside the deadline."""
    chosen = [i for i, at in enumerate(outcomes.intended) if start <= at < end]
    return {
        "answers": len(chosen),
        "kinds": dict(Counter(outcomes.kinds[i] for i in chosen)),
        "latency": percentiles([outcomes.seconds[i] for i in chosen]),
        "by_model": sorted(outcomes.seconds[i] for i in chosen if outcomes.kinds[i] == "graphsage"),
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in SHARES.items()}


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}

if __name__ == "__main__":
    serve({"closed": (run_closed, describe_closed), "open": (run_open, describe_open)})
