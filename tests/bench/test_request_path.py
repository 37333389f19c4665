"""The load generator against servers of the test's own, and that every bound on the request path finds its measure."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from bench.bounds import BOUNDS, judge
from bench.measures import Section
from bench.request_path import observability, overload, path
from bench.request_path.cpu import cpu_seconds, family, resident_bytes
from bench.request_path.generator import describe_closed, describe_open, run_closed, run_open
from bench.request_path.loads import Load
from bench.table import render

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MODEL = b'{"source":"graphsage","degraded":false,"items":[]}'
DEGRADED = b'{"source":"popular","degraded":true,"items":[]}'
POPULAR = b'{"source":"popular","degraded":false,"items":[]}'


def response(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A loopback server in a thread; its URL."""
    told: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await answer(reader, writer)
        writer.close()

    async def serve() -> None:
        stop, made = asyncio.Event(), await asyncio.start_server(accept, "127.0.0.1", 0)
        told.put((made.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
        async with made:
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, loop, stop = told.get(timeout=10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def in_turn(*bodies: bytes) -> Answer:
    """Answers each connection's requests with these, again and again, in pieces that end anywhere."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for body in bodies:
                await read_request(reader)
                for start in range(0, len(body), 37):
                    writer.write(body[start : start + 37])
                    await writer.drain()
                    await asyncio.sleep(0)

    return answer


def target(url: str) -> dict[str, object]:
    return {"url": url, "users": (7, 9), "deadline_ms": 250}


def test_every_answer_is_counted_as_what_it_is_however_its_bytes_arrive() -> None:
    kinds = {"graphsage": MODEL, "degraded": DEGRADED, "popular": POPULAR}
    bodies = [*(response(body) for body in kinds.values()), response(b"{}", b"429 Too Many Requests")]
    with server(in_turn(*bodies)) as url:
        found = describe_closed(run_closed(target(url), concurrency=3, seconds=0.3))
    counts = [found["kinds"][kind] for kind in (*kinds, "429")]
    assert max(counts) - min(counts) <= 3  # each of the connections may end in another place of the round
    assert sum(counts) == found["answers"]


def test_a_closed_loop_keeps_as_many_requests_out_as_asked() -> None:
    out, most = set[object](), list[int]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            out.add(writer)
            most.append(len(out))
            while max(most) < 5:  # noqa: ASYNC110  # nobody is answered before all five ask
                await asyncio.sleep(0.001)
            out.discard(writer)
            writer.write(response(MODEL))

    with server(answer) as url:
        run_closed(target(url), concurrency=5, seconds=0.1)
    assert max(most) == 5


def test_an_open_loop_asks_on_while_nobody_answers_and_counts_from_when_it_should_have_asked() -> None:
    asked, enough = list[bytes](), 20

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await read_request(reader))
            while len(asked) < enough:  # noqa: ASYNC110  # a closed loop would wait for ever
                await asyncio.sleep(0.001)
            writer.write(response(MODEL))

    with server(answer) as url:
        load = run_open(target(url), phases=[(100.0, 0.5), (50.0, 0.2)])
    found, outcomes = describe_open(load), load.outcomes
    assert found["answers"] == len(asked) == sum(phase["answers"] for phase in found["phases"]) > enough
    ends = sorted(at + seconds for at, seconds in zip(outcomes.intended, outcomes.seconds, strict=True))
    twentieth = sorted(outcomes.intended)[enough - 1]
    assert ends[0] >= twentieth  # the first ones' wait is counted whole


def test_a_connection_that_is_closed_on_a_request_is_told() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.close()

    with server(answer) as url:
        found = describe_closed(run_closed(target(url), concurrency=2, seconds=0.1))
    assert found["kinds"] == {"closed": 2}


def test_only_this_machine_is_ever_loaded() -> None:
    with pytest.raises(AssertionError, match="only this machine"):
        run_closed(target("http://192.0.2.1:80"), concurrency=1, seconds=0.1)


def test_a_process_is_measured_with_its_family() -> None:
    assert os.getpid() in family(os.getpid())
    assert os.getpid() in family(os.getppid())
    assert cpu_seconds(os.getpid()) > 0
    assert resident_bytes(os.getpid()) > 2**20
    assert (cpu_seconds(2**30), resident_bytes(2**30)) == (0, 0)


def a_load(rate: float = 400.0, others: int = 0) -> Load:
    cpu = {"gateway": 0.2, "worker": 0.3, "triton": 1.5, "aws": 0.4, "generator": 0.04}
    kinds = {"graphsage": 1_000 - others, "degraded": others}
    return Load(1_000, rate, kinds, {"p50": 0.1, "p99": 0.2}, cpu, {"latency": {"p50": 0.1, "p99": 0.2}})


def a_run(goodput: float = 58.0, wrong: int = 0) -> overload.Run:
    p99 = {"before": 90.0, "load": 260.0, "recovery": 300.0, "after": 95.0}
    return overload.Run(goodput, wrong, {"graphsage": 700, "degraded": 20}, p99, 0.001)


def the_sections(load: Load, runs: list[overload.Run], peer_rate: float = 1_000.0) -> list[Section]:
    peer = path.Peer(peer_rate, 0.3, 1.5)
    paced = {
        "path": {"p50": 0.06, "p99": 0.1},
        "direct": {"p50": 0.01, "p99": 0.1},
        "emulator": {"p50": 0.04, "p99": 0.1},
    }
    return [
        path.section_of(
            {"path": [load], "direct": [peer], "tritonclient": [peer], "bare": [peer]},
            {name: [{"latency": latency}] for name, latency in paced.items()},
            load,
        ),
        overload.section_of(dict(zip(overload.TIMES, runs, strict=True)), [100 << 20, 101 << 20]),
        observability.section_of([observability.Pair((load, load), (load, load))] * 4),
    ]


def test_every_bound_on_the_request_path_finds_its_measure() -> None:
    sections = the_sections(a_load(), [a_run()] * 4)
    names = {section.name for section in sections}
    verdicts = judge(sections)
    assert len(verdicts) == sum(bound.section in names for bound in BOUNDS) > 9
    assert [str(verdict) for verdict in verdicts if not verdict.kept] == []
    assert "MISSED" not in render(sections, verdicts)


@pytest.mark.parametrize(
    ("load", "runs", "peer_rate", "missed"),
    [
        (a_load(rate=299), [a_run()] * 4, 1_000, "answers"),
        (a_load(others=2), [a_run()] * 4, 1_000, "not graphsage at half load"),
        (a_load(), [a_run(), a_run(60), a_run(59), a_run(53)], 1_000, "goodput at 10x"),
        (a_load(), [a_run(), a_run(wrong=1), a_run(), a_run()], 1_000, "neither 200 nor 429"),
    ],
)
def test_a_worse_run_misses_its_bound(load: Load, runs: list[overload.Run], peer_rate: float, missed: str) -> None:
    verdicts = judge(the_sections(load, runs, peer_rate))
    assert [verdict.bound.measure for verdict in verdicts if not verdict.kept] == [missed]


def test_the_cost_of_observing_is_told_by_the_median_of_its_pairs_with_its_interval() -> None:
    off = a_load()
    dearer = [Load(1, 1, {}, {}, {**off.cpu, "gateway": 0.2 + 0.005 * number}, {}) for number in range(9)]
    section = observability.section_of([observability.Pair((on, on), (off, off)) for on in dearer])
    measure = section.measure("CPU a request, on")
    assert measure
    assert measure.ratio("off") == pytest.approx(1.04)  # the fifth of nine
    assert "1.010 to 1.070" in section.notes[1]
    assert [str(verdict) for verdict in judge([section]) if not verdict.kept]


def test_what_tells_two_stacks_apart_is_no_cost_of_observing() -> None:
    slow = a_load()
    quick = Load(1, 1, {}, {}, {name: spent / 2 for name, spent in slow.cpu.items()}, {})
    assert observability.Pair((slow, quick), (quick, slow)).ratio() == pytest.approx(1)


def test_the_interval_of_a_median_grows_with_what_may_be_chance() -> None:
    assert observability.interval_of_median([1.0, 2.0, 3.0]) == (1.0, 3.0)
    low, high = observability.interval_of_median([float(number) for number in range(40)])
    assert (low, high) == (13.0, 26.0)  # the 14th and the 27th of forty: 96 % of a fair coin's throws lie between
