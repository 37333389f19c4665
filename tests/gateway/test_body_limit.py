"""A body over 1 MiB is refused without being read, whether it announces its length or not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from starlette.types import Message, Receive

from waypost.gateway.body_limit import BodyRoom, BodyTooLarge, NoRoom, read_body

from .conftest import Client, StartGateway

HUNDRED_MB = 100_000_000
MEBIBYTE = 1 << 20
ENOUGH = 64 * MEBIBYTE  # more than all buffers between two sockets of this machine hold


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Client:
    return start_gateway()


def test_a_body_of_exactly_one_mebibyte_is_read(gateway: Client) -> None:
    body = b'{"user_id": 42, "k": 1, "deadline_ms": 20}'
    assert gateway.post(body.ljust(MEBIBYTE)).status == 200
    assert gateway.post(body.ljust(MEBIBYTE + 1)).status == 413


def test_a_long_body_that_is_announced_is_refused_before_any_of_it_is_sent(gateway: Client) -> None:
    with a_connection(gateway) as connection:
        connection.sendall(head(f"Content-Length: {HUNDRED_MB}"))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert orjson.loads(answer.split(b"\r\n\r\n", 1)[1]) == {"detail": "the body is larger than 1048576 bytes"}


def test_a_long_chunked_body_is_refused_on_the_way_and_not_read_to_its_end(gateway: Client) -> None:
    with a_connection(gateway) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        sent = send_until_refused(connection, chunks())
    assert sent < ENOUGH


def test_the_refusal_of_a_chunked_body_is_413(gateway: Client) -> None:
    with a_connection(gateway) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        for chunk, _ in zip(chunks(), range(17), strict=False):  # 17 of 64 KiB: just over 1 MiB
            connection.sendall(chunk)
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_content_length_that_lies_stops_nobody_from_counting(gateway: Client) -> None:
    with a_connection(gateway) as connection:
        connection.sendall(head("Content-Length: nonsense"))
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


class TestRoom:
    def test_bodies_that_are_on_their_way_share_one_room(self) -> None:
        room = BodyRoom(100)
        slow = a_body(b"x" * 80, None)
        with pytest.raises(NoRoom):
            run_beside(read_body(slow, 1_000, room), read_body(a_body(b"y" * 15, b"y" * 15), 1_000, room))

    def test_a_body_gives_its_room_back_however_it_ends(self) -> None:
        room = BodyRoom(100)
        for _ in range(10):
            assert asyncio.run(read_body(a_body(b"x" * 40, b"x" * 60), 1_000, room)) == b"x" * 100
            with pytest.raises(BodyTooLarge):
                asyncio.run(read_body(a_body(b"x" * 40, b"x" * 60), 99, room))
            with pytest.raises(NoRoom):
                asyncio.run(read_body(a_body(b"x" * 40, b"x" * 61), 1_000, room))

    def test_a_body_in_one_piece_needs_none(self) -> None:
        assert asyncio.run(read_body(a_body(b"x" * 1_000), 1_000, BodyRoom(0))) == b"x" * 1_000


def a_body(*pieces: bytes | None) -> Receive:
    """What a connection says; None: it falls silent."""
    left = list(pieces)

    async def receive() -> Message:
        piece = left.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    return receive


def run_beside(slow: Coroutine[Any, Any, bytes], other: Coroutine[Any, Any, bytes]) -> None:
    async def both() -> None:
        waiting = asyncio.create_task(slow)
        await asyncio.sleep(0)
        try:
            await other
        finally:
            waiting.cancel()

    asyncio.run(both())


def head(header: str) -> bytes:
    return f"POST /recommend HTTP/1.1\r\nHost: waypost\r\n{header}\r\n\r\n".encode()


def chunks() -> Iterator[bytes]:
    while True:
        yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"


def send_until_refused(connection: socket.socket, pieces: Iterator[bytes]) -> int:
    """Bytes sent until the other side closed."""
    sent = 0
    for piece in pieces:
        try:
            connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            break
        sent += len(piece)
        if sent >= ENOUGH:
            break
    return sent


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while piece := connection.recv(65_536):
        answer += piece
    return answer


def a_connection(gateway: Client) -> socket.socket:
    url = urlsplit(gateway.url)
    return socket.create_connection((url.hostname, url.port), timeout=30)
