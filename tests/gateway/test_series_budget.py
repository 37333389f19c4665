"""However many users, tags, posts and requests there are, a process has the same series: an id is never a label."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import orjson
import pytest

from tests.gateway.conftest import Client, ScriptedAnswerer, StartGateway, StartWorker
from waypost.metrics import WorkerMetrics, negotiated

CALLERS = 16
PATIENT_MS = 10_000
SERIES_BUDGET = 500
SCRAPE_SECONDS, SCRAPES = 0.05, 9
TEXT = "text/plain;version=0.0.4"


def bodies(first: int, count: int) -> Iterator[bytes]:
    """A user each, with tags, recent posts and excludes that nobody has named before."""
    for user in range(first, first + count):
        yield orjson.dumps(
            {
                "user_id": user,
                "k": 1 + user % 20,
                "deadline_ms": PATIENT_MS,
                "tags": {"any": [f"tag-{user}"]},
                "recent_post_ids": [user + 1],
                "exclude_post_ids": [user + 2],
            }
        )


def ask_all(gateway: Client, wanted: Iterator[bytes]) -> None:
    """By several callers at a time, each over one kept connection."""
    host, port = urlsplit(gateway.url).hostname, urlsplit(gateway.url).port

    async def call() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for body in wanted:
            writer.write(b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(call() for _ in range(CALLERS)))

    asyncio.run(run())


def warm(gateway: Client, answerer: ScriptedAnswerer) -> None:
    """Every label once: two releases, answers too late, refused requests."""
    for version in (6, 7):
        answerer.model_version = version
        gateway.post({"user_id": 1, "deadline_ms": PATIENT_MS})
    gateway.post({"user_id": 1, "deadline_ms": 20})
    gateway.post({"user_id": "1"})


def of_gateway(gateway: Client, accept: str = TEXT) -> list[str]:
    answer = gateway.pool.request("GET", f"{gateway.metrics_url}/metrics", headers={"Accept": accept})
    return series(answer.data.decode())


def series(text: str) -> list[str]:
    """Names with their labels."""
    return [line.rsplit(" ", 1)[0] for line in text.splitlines() if line and not line.startswith("#")]


def of_worker(metrics: WorkerMetrics) -> list[str]:
    return series(negotiated(metrics.registry, TEXT)[0].decode())


@pytest.mark.parametrize(
    ("few", "many"),
    [(50, 300), pytest.param(1_000, 100_000, marks=[pytest.mark.faults, pytest.mark.timeout(900)])],
)
def test_series_are_the_same_after_many_users_as_after_few(
    start_gateway: StartGateway, start_worker: StartWorker, few: int, many: int
) -> None:
    gateway, answerer, worker = start_gateway(), ScriptedAnswerer(), WorkerMetrics()
    start_worker(answerer, metrics=worker)
    warm(gateway, answerer)
    ask_all(gateway, bodies(10, few))
    before = of_gateway(gateway), of_worker(worker)
    ask_all(gateway, bodies(10 + few, many))
    assert (of_gateway(gateway), of_worker(worker)) == before
    assert max(map(len, before)) <= SERIES_BUDGET
    assert worker.answered_so_far() >= few + many
    print(f"\n{few:,} and {many:,} users: gateway {len(before[0])}, worker {len(before[1])} series", end=" ")


@pytest.mark.faults
def test_a_scrape_takes_less_than_50_ms(start_gateway: StartGateway, start_worker: StartWorker) -> None:
    gateway, answerer = start_gateway(), ScriptedAnswerer()
    start_worker(answerer)
    warm(gateway, answerer)
    ask_all(gateway, bodies(10, 2_000))
    for accept in (TEXT, "application/openmetrics-text;version=1.0.0"):
        took = []
        for _ in range(SCRAPES):
            began = time.perf_counter()
            of_gateway(gateway, accept)
            took.append(time.perf_counter() - began)
        print(f"\n{accept}: {1e3 * statistics.median(took):.1f} ms", end=" ")
        assert statistics.median(took) < SCRAPE_SECONDS
