"""A gateway over real HTTP on free ports, with the twins of queue and store behind it, and a worker's loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import urllib3
import uvloop

from waypost.clock import SystemClock
from waypost.faults import parse_fault
from waypost.gateway.keys import ApiKeys
from waypost.gateway.ports import url_of
from waypost.gateway.run import Outside, bind_all, serve
from waypost.logs.requests import RequestLog, silent
from waypost.metrics import WorkerMetrics
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.questions import Answer, Question
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.protocols import RequestQueue
from waypost.queueing.replies import HttpReplySender, ReplyResolver, ReplySender
from waypost.queueing.signing import Keyring, MessageKey
from waypost.release.answering import Answerer as ReleaseAnswerer
from waypost.release.moves import point_to
from waypost.release.pointer import read_pointer
from waypost.release.signing import NO_KEYS
from waypost.release.store import publish
from waypost.settings import GatewaySettings
from waypost.stages import StageTimer
from waypost.worker.answerer import Answerer
from waypost.worker.loop import LoopLimits, WorkerLoop

KEYRING = Keyring([MessageKey("2025", b"a new secret of ours!")])
POPULAR = {
    "posts": list(range(1, 201)),
    "scores": [float(1_000 - i) for i in range(200)],
    "tags": {"beach": [1, 3, 5, 150], "family": [3, 5, 7], "nightlife": [5]},
}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def posts(self) -> list[Any]:
        return [item["post_id"] for item in self.json["items"]]


@dataclass
class Client:
    """Asks one gateway over kept connections."""

    url: str
    metrics_url: str
    replies_url: str
    stop: Callable[[], None]
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=32, timeout=urllib3.Timeout(15), retries=False)
    )

    def post(self, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return self._ask("POST", "/recommend", raw, headers)

    def get(self, path: str) -> Reply:
        return self._ask("GET", path)

    def metric(self, line: str) -> float:
        """The value of one series, such as `waypost_gateway_degraded_total{cause="timeout"}`; 0 when there is none."""
        text = self.pool.request("GET", f"{self.metrics_url}/metrics").data.decode()
        found = [row.rsplit(" ", 1)[1] for row in text.splitlines() if row.startswith(line + " ")]
        return float(found[0]) if found else 0.0

    def _ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        answer = self.pool.request(method, self.url + path, body=body, headers=headers)
        return Reply(answer.status, answer.headers, orjson.loads(answer.data))


StartGateway = Callable[..., Client]
StartWorker = Callable[..., WorkerLoop]


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def store() -> MemoryObjectStore:
    """With one release, version 7."""
    found = MemoryObjectStore()
    publish_release(found, 7)
    return found


def publish_release(store: ObjectStore, version: int, **different: object) -> None:
    popular = orjson.dumps({"version": version, **POPULAR, **different})
    publish(store, f"release-{version}", {"popular.json": popular}, {"version": version})
    point_to(store, read_pointer(store), f"release-{version}", version, "test", SystemClock())


@pytest.fixture
def start_gateway(queue: MemoryQueue, store: MemoryObjectStore, tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways on free ports; each is ready unless told otherwise, and stopped in the end."""
    with ExitStack() as running:

        def start(
            queue: RequestQueue = queue,
            store: ObjectStore = store,
            wait_until_ready: bool = True,
            fault: str | None = None,
            log: RequestLog | None = None,
            **settings: object,
        ) -> Client:
            given = GatewaySettings.model_validate({"port": 0, "pointer_seconds": 0.02, "drain_seconds": 0, **settings})
            outside = Outside(queue, store, KEYRING, NO_KEYS, log=log or silent())
            client = running.enter_context(a_gateway(given, outside, fault))
            if wait_until_ready:
                eventually(lambda: client.get("/readyz").status == 200)
            return client

        yield start


@contextmanager
def a_gateway(settings: GatewaySettings, outside: Outside, fault: str | None) -> Iterator[Client]:
    sockets = bind_all(settings)
    loop = uvloop.new_event_loop()
    stop = asyncio.Event()
    keys = ApiKeys(settings.api_keys_file)
    serving = serve(settings, outside, sockets, keys, parse_fault(fault), stop)
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
    urls = url_of(sockets.public), url_of(sockets.metrics), url_of(sockets.replies)
    thread.start()

    def stop_and_wait() -> None:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()

    client = Client(*urls, stop_and_wait)
    try:
        yield client
    finally:
        stop_and_wait()
        client.pool.clear()
        loop.close()


@dataclass
class ScriptedAnswerer:
    """Answers with posts 1000, 1001, … as release 7; `before` runs before each answer."""

    model_version: int | None = 7
    instead: Answerer | None = None
    before: Callable[[], None] = lambda: None

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
        with stages.time("infer"):
            self.before()
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        items = tuple((1_000 + i, 1.0 - i / 1_000) for i in range(question.k))
        return Answer(self.model_version, "graphsage", items)


@dataclass
class Proven:
    """A release's own answers, as of the one that is served."""

    release: ReleaseAnswerer
    instead: Answerer | None = None

    @property
    def model_version(self) -> int:
        return self.release.model_version

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
        return self.release.answer(questions, stages)


@dataclass
class OnlyRelease:
    """No canary beside it."""

    answerer: Answerer

    def share_out(self, request_ids: Sequence[str], may_try: bool = True) -> list[tuple[Answerer, list[int]]]:
        return [(self.answerer, list(range(len(request_ids))))]

    def unanswered(self) -> None:
        pass


@pytest.fixture
def start_worker(queue: MemoryQueue) -> Iterator[StartWorker]:
    """Start workers on the queue; stopped in the end."""
    with ExitStack() as running:

        def start(
            answerer: Answerer | None = None,
            wrap: Callable[[ReplySender], ReplySender] = lambda sender: sender,
            metrics: WorkerMetrics | None = None,
            log: RequestLog | None = None,
            dead_letters: RequestQueue | None = None,
        ) -> WorkerLoop:
            sender = HttpReplySender(ReplyResolver("localhost"), KEYRING)
            running.callback(sender.close)
            loop = WorkerLoop(
                queue,
                KEYRING,
                OnlyRelease(answerer or ScriptedAnswerer()),
                wrap(sender),
                metrics or WorkerMetrics(),
                ready=lambda: True,
                limits=LoopLimits(receivers=1, long_poll_seconds=0.05),
                dead_letters=dead_letters,
                log=log,
            )
            thread = threading.Thread(target=loop.run)
            thread.start()
            running.callback(thread.join)
            running.callback(loop.stop)
            return loop

        yield start


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds; the test's own timeout is the limit."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.005)
