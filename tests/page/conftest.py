"""A small world with its status page: a gateway over HTTP, a worker that ranks with a whole release, both in this
process, the queue and the store in memory, and beside them what tells histories and reasons."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.factories import release_of, some_tables, some_tensors
from tests.gateway.conftest import KEYRING, Client, OnlyRelease, Proven, a_gateway, eventually
from tests.page.browser import PACKAGE, Browser, a_browser, find_chromium
from waypost.clock import SystemClock
from waypost.gateway.run import Outside
from waypost.graph.tensors import GraphTensors
from waypost.graph.texts import to_texts
from waypost.local.reasons import Reasons
from waypost.local.reasons_reading import read_tables
from waypost.local.reasons_server import reasons_told
from waypost.metrics import WorkerMetrics
from waypost.objects.bundle import describe
from waypost.objects.memory import MemoryObjectStore
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.replies import HttpReplySender, ReplyResolver
from waypost.release import lookups
from waypost.release.moves import point_to
from waypost.release.onnx_runner import load_onnx
from waypost.release.opening import open_release
from waypost.release.pointer import read_pointer
from waypost.release.signing import NO_KEYS
from waypost.release.store import LOOKUPS, MODEL, publish
from waypost.settings import GatewaySettings
from waypost.worker.health import HealthServer
from waypost.worker.loop import LoopLimits, WorkerLoop

USER = 20  # of the factories' graph, with a history
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
SCORES = {"recall": 0.2, "ndcg": 0.1, "popularity_recall": 0.12, "popularity_ndcg": 0.06}


def a_world(title: str = "A quiet beach") -> GraphTensors:
    tensors = some_tensors()
    return replace(tensors, post_texts=to_texts(f"{title} {row}\nwith a body" for row in range(tensors.num_posts)))


@dataclass
class World:
    """What `local run` leaves running, in this process."""

    folder: Path  # where each says where it listens
    tensors: GraphTensors = field(default_factory=a_world)
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    worker_metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    version: int = 0

    def publish(self, version: int) -> None:
        """A release that is served at once."""
        self.version = version
        self.files, facts = release_of(self.tensors, some_tables(self.tensors), version)
        facts |= {"scores": SCORES, "sizes": {"interactions": 60}, "checkpoint": "20260101T000000-abcd"}
        publish(self.store, f"{version:06d}-name", self.files, facts)
        point_to(self.store, read_pointer(self.store), f"{version:06d}-name", version, "test", SystemClock())
        self.answerer = open_release(describe(self.files, facts), self.files, load_onnx(self.files[MODEL], threads=1))
        self.worker_metrics.serves_release(version, self.tensors.num_posts, SCORES)

    def reasons(self) -> Reasons:
        found = lookups.from_bytes(self.files[LOOKUPS])
        return Reasons(self.version, self.tensors, found, read_tables(self.files[MODEL]))

    @contextmanager
    def gateway(self, **settings: object) -> Iterator[Client]:
        given = GatewaySettings.model_validate(
            {"port": 0, "pointer_seconds": 0.02, "drain_seconds": 0, "status_page": "on", **settings}
        )
        outside = Outside(self.queue, self.store, KEYRING, NO_KEYS, neighbours=self.folder)
        with a_gateway(given, outside, None) as client:
            eventually(lambda: client.get("/readyz").status == 200)
            yield client

    @contextmanager
    def worker(self) -> Iterator[None]:
        sender = HttpReplySender(ReplyResolver("localhost"), KEYRING)
        ready: Callable[[], bool] = lambda: True  # noqa: E731
        loop = WorkerLoop(
            self.queue, KEYRING, OnlyRelease(Proven(self.answerer)), sender, self.worker_metrics, ready=ready,
            limits=LoopLimits(receivers=1, long_poll_seconds=0.05),
        )  # fmt: skip
        door = HealthServer("127.0.0.1", 0, self.worker_metrics.registry, ready, ready)
        door.start()
        self.worker_metrics.ready.set(1)
        (self.folder / "worker.json").write_text(json.dumps({"metrics_url": f"{door.url}/metrics"}))
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            yield
        finally:
            loop.stop()
            thread.join()
            sender.close()
            door.stop()

    @contextmanager
    def reasons_told(self) -> Iterator[None]:
        with reasons_told(self.reasons, self.folder / "reasons.json"):
            yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With release 7, nothing running."""
    found = World(tmp_path)
    found.publish(7)
    return found


@dataclass(frozen=True)
class Page:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


def get(client: Client, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Page:
    answer = client.pool.request(method, client.url + path, body=body, headers=headers)
    return Page(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory, need_package: Callable[[str], None]) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        need_package(PACKAGE)
    assert program is not None
    with a_browser(program, tmp_path_factory.mktemp("chromium")) as found:
        yield found
