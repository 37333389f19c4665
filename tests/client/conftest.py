"""A server that answers, or misbehaves, as the test says; and both clients behind one way of asking."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import orjson
import pytest

from waypost.client import AsyncClient, Client, Recommendation

PATIENT_MS = 10_000  # a deadline that nothing in these tests is to reach
NAMED = {422: "Unprocessable", 401: "Unauthorized", 403: "Forbidden", 429: "Busy", 503: "Unavailable", 404: "Not Found"}


@dataclass
class Talk:
    """One request to the server, and its way back."""

    asked: dict[str, Any]
    headers: dict[str, str]
    writer: asyncio.StreamWriter

    async def send(self, status: int, body: bytes, headers: str = "") -> None:
        head = f"HTTP/1.1 {status} {NAMED.get(status, 'OK')}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    def answer(self, **different: Any) -> bytes:
        items = [{"post_id": 1_000 + i, "score": 1.0 - i / 1_000} for i in range(self.asked.get("k", 20))]
        right = {"request_id": "r", "user_id": self.asked["user_id"], "model_version": 7, "source": "graphsage"}
        return orjson.dumps({**right, "degraded": False, "items": items, **different})


Behaviour = Callable[[Talk], Awaitable[None]]


async def answers(talk: Talk) -> None:
    await talk.send(200, talk.answer())


async def closes(talk: Talk) -> None:
    talk.writer.close()


async def is_silent(talk: Talk) -> None:
    await asyncio.Event().wait()


async def trickles(talk: Talk) -> None:
    """A byte now and then: no single read is ever late."""
    body = talk.answer()
    talk.writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    for byte in body:
        talk.writer.write(bytes([byte]))
        await talk.writer.drain()
        await asyncio.sleep(0.05)


async def never_ends(talk: Talk) -> None:
    talk.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        talk.writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        await talk.writer.drain()


def says(status: int, body: bytes = b'{"detail": "so it is"}', headers: str = "") -> Behaviour:
    async def say(talk: Talk) -> None:
        await talk.send(status, body, headers)

    return say


def answers_with(**different: Any) -> Behaviour:
    async def answer(talk: Talk) -> None:
        await talk.send(200, talk.answer(**different))

    return answer


@dataclass
class Server:
    port: int = 0
    behaviour: Behaviour = answers
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                _, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
                self.asked.append(body)
                self.headers.append(headers)
                await self.behaviour(Talk(body, headers, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


StartServer = Callable[..., Server]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Start servers, each with a behaviour; stopped in the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def start(behaviour: Behaviour = answers) -> Server:
        server = Server(behaviour=behaviour)
        begin = asyncio.start_server(server.serve, "127.0.0.1", 0)
        listening = asyncio.run_coroutine_threadsafe(begin, loop).result()
        server.port = listening.sockets[0].getsockname()[1]
        started.append(listening)
        return server

    async def end() -> None:
        for listening in started:
            listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    started: list[asyncio.Server] = []
    yield start
    asyncio.run_coroutine_threadsafe(end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Ask(Protocol):
    def __call__(self, user_id: Any, k: Any = 20, **fields: Any) -> Recommendation: ...


MakeClient = Callable[..., Ask]


@pytest.fixture(params=["blocking", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Both clients, asked alike; closed in the end."""
    with ExitStack() as open_ones:
        runner = open_ones.enter_context(asyncio.Runner())

        def make(*gateways: str, **options: Any) -> Ask:
            if request.param == "blocking":
                blocking = open_ones.enter_context(Client(gateways, **options))
                return cast(Ask, blocking.recommend)
            client = AsyncClient(gateways, **options)
            open_ones.callback(lambda: runner.run(client.close()))
            return lambda *given, **fields: runner.run(client.recommend(*given, **fields))

        yield make
