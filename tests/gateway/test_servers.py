"""A server that stops: whom the kernel has let in is answered, and nobody is kept waiting for who is idle."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from waypost.gateway.ports import bind
from waypost.gateway.reception import Patience, Reception
from waypost.gateway.servers import Server

ASK = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The path, after a moment."""
    await asyncio.sleep(0.05)
    body = scope["path"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def served(use: Callable[[Server, socket.socket], Awaitable[None]]) -> None:
    async def run() -> None:
        bound = bind("127.0.0.1", 0, "X")
        server = Server(echo, bound, 100, Reception(Patience(), lambda status: None))
        await server.start()
        await use(server, bound)

    uvloop.run(run())


def a_connection(bound: socket.socket, running: ExitStack) -> socket.socket:
    return running.enter_context(socket.create_connection(bound.getsockname()[:2], timeout=10))


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_connections_that_nobody_accepted_yet_are_answered() -> None:
    async def use(server: Server, bound: socket.socket) -> None:
        with ExitStack() as running:
            asked = [a_connection(bound, running) for _ in range(20)]
            for number, connection in enumerate(asked):
                connection.sendall(ASK % number)
            await server.stop()  # the loop has not had one turn since
            for number, connection in enumerate(asked):
                assert read_all(connection).endswith(b"connection: close\r\n\r\n/%d" % number)

    served(use)


def test_what_an_idle_connection_has_just_sent_is_answered() -> None:
    async def use(server: Server, bound: socket.socket) -> None:
        with ExitStack() as running:
            idle = a_connection(bound, running)
            idle.sendall(ASK % 1)
            while not (await asyncio.to_thread(idle.recv, 65_536)).endswith(b"/1"):
                pass
            idle.sendall(ASK % 2)
            await server.stop()
            assert read_all(idle).endswith(b"connection: close\r\n\r\n/2")

    served(use)


def test_a_stop_does_not_wait_long_for_idle_connections_and_takes_no_new_ones() -> None:
    async def use(server: Server, bound: socket.socket) -> None:
        address = bound.getsockname()[:2]
        with ExitStack() as running:
            idle = a_connection(bound, running)
            await asyncio.sleep(0.01)
            await server.stop()
            assert read_all(idle) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=10)

    served(use)


def test_a_leaving_server_answers_and_closes() -> None:
    async def use(server: Server, bound: socket.socket) -> None:
        with ExitStack() as running:
            in_hand = a_connection(bound, running)
            in_hand.sendall(ASK % 1)
            await asyncio.sleep(0.01)
            server.leave()
            new = a_connection(bound, running)
            new.sendall(ASK % 2)
            for number, connection in ((1, in_hand), (2, new)):
                answer = await asyncio.to_thread(read_all, connection)
                assert answer.endswith(b"connection: close\r\n\r\n/%d" % number)
            await server.stop()

    served(use)
