"""Callers who mean ill, or do not know better: each is told so with the right status, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .conftest import Client, StartGateway, StartWorker, eventually
from .test_body_shape import ENDLESS

KEY = "a long random string"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
PATIENT = {"user_id": 42, "k": 5, "deadline_ms": 10_000}
HEAD = f"POST /recommend HTTP/1.1\r\nHost: waypost\r\nAuthorization: Bearer {KEY}\r\n".encode()
MEBIBYTE = 1 << 20


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"id": "app", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}))
    return file


@pytest.fixture
def gateway(start_gateway: StartGateway, keys_file: Path) -> Client:
    return start_gateway(api_keys_file=keys_file, head_seconds=0.5, body_seconds=0.5)


def answer_to(gateway: Client, *pieces: bytes) -> bytes:
    """Everything that comes back until the connection ends."""
    with closing(a_connection(gateway)) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return read_all(connection)


def a_connection(gateway: Client) -> socket.socket:
    url = urlsplit(gateway.url)
    return socket.create_connection((str(url.hostname), url.port or 0), timeout=30)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def status(answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    assert "detail" in json.loads(body)
    assert b"connection: close" in head.lower()
    return int(head.split(b" ", 2)[1])


class TestEachIsTold:
    @pytest.mark.parametrize(
        "start", [b"P", b"POST /recommend HTTP/1.1\r\nHost: way", HEAD], ids=["a letter", "a half line", "no end"]
    )
    def test_headers_that_do_not_come_in_time_are_408(self, gateway: Client, start: bytes) -> None:
        assert status(answer_to(gateway, start)) == 408
        assert gateway.metric('waypost_gateway_requests_total{code="408",source="none"}') == 1

    def test_a_body_that_does_not_come_in_time_is_408_however_steadily_it_drips(self, gateway: Client) -> None:
        with closing(a_connection(gateway)) as connection, ThreadPoolExecutor(1) as reader:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
            answer = reader.submit(read_all, connection)
            drip(connection, answer.done)
            assert status(answer.result()) == 408

    def test_the_time_that_a_body_takes_counts_against_its_deadline(
        self, start_gateway: StartGateway, keys_file: Path
    ) -> None:
        """Its deadline is over when it is whole, and it is answered at once, though nobody ranks here."""
        gateway = start_gateway(api_keys_file=keys_file)
        body = b'{"user_id": 1, "k": 1, "deadline_ms": 1000}'
        with closing(a_connection(gateway)) as connection:
            connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:-1])
            time.sleep(1.1)
            connection.sendall(body[-1:])
            assert read_all(connection).startswith(b"HTTP/1.1 200 ")
        labels = 'model_version="none",source="popular",version="0.1.0"'
        assert gateway.metric(f'waypost_gateway_request_seconds_bucket{{le="0.5",{labels}}}') == 1

    def test_a_connection_that_never_asks_anything_is_closed_without_a_word(self, gateway: Client) -> None:
        assert answer_to(gateway) == b""

    @pytest.mark.parametrize(
        "headers",
        [b"a: b\r\n" * 10_000, b"a: b\r\n" * 101, b"a: " + b"b" * MEBIBYTE, b"a: " + b"b" * 40_000 + b"\r\n\r\n"],
        ids=["10,000 headers", "101 headers", "a line of 1 MiB without end", "a line of 40 KB"],
    )
    def test_too_many_or_too_long_headers_are_431(self, gateway: Client, headers: bytes) -> None:
        assert status(answer_to(gateway, HEAD + headers + b"\r\n")) == 431

    def test_a_request_line_that_never_ends_is_431(self, gateway: Client) -> None:
        assert status(answer_to(gateway, b"GET /" + b"a" * MEBIBYTE)) == 431

    @pytest.mark.parametrize(
        "start",
        [
            b"\x16\x03\x01 hello\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
            HEAD + b"Content-Length: -1\r\n\r\n",
            HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nnothing hexadecimal\r\n",
            HEAD + b"a b: c\r\n\r\n",
            b"GET /\xff\xff HTTP/1.1\r\n\r\n",
        ],
        ids=range(9),
    )
    def test_what_is_no_http_is_400(self, gateway: Client, start: bytes) -> None:
        assert status(answer_to(gateway, start)) == 400

    @pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS.keys())
    def test_endless_json_is_422(self, gateway: Client, body: bytes) -> None:
        assert gateway.post(body, AUTHORIZED).status == 422

    def test_who_has_no_key_is_told_before_his_body_is_read(self, gateway: Client) -> None:
        answer = answer_to(gateway, b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nxxx")
        assert status(answer) == 401

    @pytest.mark.parametrize(
        ("behind", "told"),
        [
            (b"\x00 garbage\r\n\r\n", 400),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnothing hexadecimal\r\n", 400),
            (HEAD + b"Content-Length: 5\r\n\r\n", 408),
        ],
        ids=["garbage", "a broken body", "half a body"],
    )
    def test_what_stands_behind_good_requests_is_refused_after_they_are_answered(
        self, gateway: Client, behind: bytes, told: int
    ) -> None:
        body = b'{"user_id": 1, "k": 1, "deadline_ms": 1300}'  # longer than a refusal is read out
        good = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        answer = answer_to(gateway, good + good + behind)
        answers = answer.split(b"HTTP/1.1 ")[1:]
        assert [one[:3] for one in answers] == [b"200", b"200", str(told).encode()]

    def test_requests_sent_ahead_are_answered_in_their_order(self, gateway: Client) -> None:
        bodies = [b'{"user_id": %d, "k": 1, "deadline_ms": 20}' % user for user in range(20)]
        ahead = b"".join(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies)
        last = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answer = answer_to(gateway, ahead + last)
        assert [answer.index(b'"user_id":%d,' % user) for user in range(20)] == sorted(
            answer.index(b'"user_id":%d,' % user) for user in range(20)
        )


def drip(connection: socket.socket, ended: Callable[[], bool]) -> None:
    with contextlib.suppress(OSError):
        while not ended():
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                asyncio.run(asyncio.sleep(0.05))


class TestNobodyElseNotices:
    def test_an_ordinary_caller_beside_all_of_them_gets_the_models_answer_every_time(
        self, start_gateway: StartGateway, start_worker: StartWorker, keys_file: Path
    ) -> None:
        gateway = start_gateway(api_keys_file=keys_file, head_seconds=1, body_seconds=1)
        start_worker()
        with attacked(gateway) as counts:
            for _ in range(150):
                answer = gateway.post(PATIENT, AUTHORIZED)
                assert (answer.status, answer.json["source"]) == (200, "graphsage")
            eventually(lambda: min(counts.values()) > 0)

    def test_idle_connections_hold_no_place_that_a_caller_needs(
        self, start_gateway: StartGateway, keys_file: Path
    ) -> None:
        gateway = start_gateway(api_keys_file=keys_file, connections=32, head_seconds=60)
        idle = [a_connection(gateway) for _ in range(300)]
        for _ in range(20):
            gateway.pool.clear()
            assert gateway.post({"user_id": 1, "k": 1, "deadline_ms": 20}, AUTHORIZED).status == 200
        eventually(lambda: sum(is_open(connection) for connection in idle) <= 32)
        for connection in idle:
            connection.close()

    def test_a_caller_who_waits_for_his_answer_keeps_his_connection(
        self, start_gateway: StartGateway, keys_file: Path
    ) -> None:
        gateway = start_gateway(api_keys_file=keys_file, connections=16, head_seconds=60)
        with ThreadPoolExecutor(8) as callers:
            asked = [
                callers.submit(gateway.post, {"user_id": 1, "k": 1, "deadline_ms": 1_000}, AUTHORIZED) for _ in range(8)
            ]
            eventually(lambda: gateway.metric("waypost_gateway_in_flight_requests") == 8)
            idle = [a_connection(gateway) for _ in range(100)]
            assert [one.result().status for one in asked] == [200] * 8
        for connection in idle:
            connection.close()


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.contextmanager
def attacked(gateway: Client) -> Iterator[dict[str, int]]:
    """Every attack at once for as long as it lasts; how often each was refused or cut."""
    url = urlsplit(gateway.url)
    counts = dict.fromkeys(ATTACKS, 0)
    loop = asyncio.new_event_loop()

    async def attack() -> None:
        async with asyncio.TaskGroup() as group:
            for name, (one, times) in ATTACKS.items():
                for _ in range(times):
                    group.create_task(again_and_again(name, one))

    async def again_and_again(name: str, one: Attack) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with a_stream(str(url.hostname), url.port or 0) as (reader, writer):
                    await one(reader, writer)
            counts[name] += 1

    with ThreadPoolExecutor(1) as thread:
        task = loop.create_task(attack())
        running = thread.submit(loop.run_until_complete, asyncio.gather(task, return_exceptions=True))
        try:
            yield counts
        finally:
            loop.call_soon_threadsafe(task.cancel)
            running.result()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


@asynccontextmanager
async def a_stream(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def loris(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while not reader.at_eof():
        writer.write(b"a: b\r\n")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.1)


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
    while not reader.at_eof():
        writer.write(b" ")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.1)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def many_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"a: b\r\n" * 10_000 + b"\r\n")
    await reader.read()


async def long_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"a: " + b"b" * MEBIBYTE)
    await reader.read()


async def endless_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(1_000):  # of 1 MiB: 1 GB
        writer.write(b"100000\r\n" + b" " * MEBIBYTE + b"\r\n")
        await writer.drain()


def with_body(body: bytes) -> Attack:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.read()
        await asyncio.sleep(0.2)

    return one


async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks on and on, and leaves the answers lying."""
    ask = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 500
    for _ in range(10):
        writer.write(ask)
        await asyncio.sleep(0.1)


ATTACKS: dict[str, tuple[Attack, int]] = {  # and how many of them at a time
    "loris": (loris, 100),
    "slow body": (slow_body, 50),
    "silent": (silent, 100),
    "10,000 headers": (many_headers, 1),
    "a header of 1 MiB": (long_header, 1),
    "chunks of 1 GB": (endless_chunks, 1),
    "never reads": (never_reads, 1),
    "wrong ids": (with_body(ENDLESS["wrong ids"]), 1),
    "unknown fields": (with_body(ENDLESS["unknown fields"]), 1),
    "deep JSON": (with_body(ENDLESS["arrays without end"]), 1),
}
