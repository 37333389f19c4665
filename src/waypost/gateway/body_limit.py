"""Bodies, counted in bytes as they arrive: whole up to a limit, and beyond it refused without reading the rest.

A body without Content-Length (or with a wrong one) is stopped too. How long a body may take is the Connection's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waypost.gateway.reception import LINGER_BYTES, LINGER_SECONDS

MAX_BODIES_BYTES = 64 << 20  # on their way at a time: 64 of the largest, or a thousand of 64 KiB
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")


class BodyTooLarge(Exception):
    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes")


class CallerGone(Exception):
    """The connection ended before the body did: there is nobody to answer."""


class NoRoom(Exception):
    """So much is on its way in other bodies that this one must wait."""


class BodyRoom:
    """Memory for bodies that are on their way, all together; one that comes in one piece needs none."""

    def __init__(self, limit: int) -> None:
        self._left = limit  # bytes

    def take(self, size: int) -> None:
        """Raises NoRoom. What was taken is given back even then."""
        self._left -= size
        if self._left < 0:
            raise NoRoom

    def give_back(self, size: int) -> None:
        self._left += size


async def read_body(receive: Receive, limit: int, room: BodyRoom) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it is, CallerGone, NoRoom."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if message["type"] == "http.disconnect":
            raise CallerGone
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body
    return await _read_rest(receive, limit, room, body)


async def _read_rest(receive: Receive, limit: int, room: BodyRoom, first: bytes) -> bytes:
    pieces, size, more = [first], len(first), True
    try:
        room.take(size)
        while more and size <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CallerGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            room.take(len(pieces[-1]))
            more = message.get("more_body", False)
    finally:
        room.give_back(size)
    if size > limit:
        raise BodyTooLarge(limit)
    return b"".join(pieces)


def authorization_and_length(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes | None, int]:
    """Authorization, and Content-Length in bytes: 0 when absent (the parser refused one that is no number)."""
    authorization, length = None, 0
    for name, value in headers:
        if name == b"authorization":
            authorization = value
        elif name == b"content-length":
            length = int(value)
    return authorization, length


class BodyLimit:
    """Hands the application its body whole, or answers 413 itself."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit, self._room = app, limit, BodyRoom(MAX_BODIES_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS_WITH_BODY:
            await self._app(scope, receive, send)
            return
        try:
            _, length = authorization_and_length(scope["headers"])
            if length > self._limit:
                raise BodyTooLarge(self._limit)
            body = await read_body(receive, self._limit, self._room)
        except BodyTooLarge as error:
            await send_refusal(413, str(error), (), receive, send)
        except NoRoom:
            await send_refusal(429, "too many bodies are on their way", (), receive, send)
        except CallerGone:
            return
        else:
            await self._app(scope, _replay(body, receive), send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the whole body first and what the connection says after that."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def send_refusal(
    status: int, detail: str, headers: Iterable[tuple[bytes, bytes]], receive: Receive, send: Send
) -> None:
    """Answer although the body is not read whole, and close the connection: what follows on it is the body's rest.

    The rest is read for a moment and dropped: a socket closed with unread bytes resets, and the caller may never see
    the answer.
    """
    body = orjson.dumps({"detail": detail})
    facts = [_JSON, (b"content-length", str(len(body)).encode()), _CLOSE, *headers]
    await send({"type": "http.response.start", "status": status, "headers": facts})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await drop_body(receive, LINGER_BYTES)
    await send({"type": "http.response.body", "body": b""})


async def drop_body(receive: Receive, limit: int) -> bool:
    """Read what comes for a moment; whether the body ended in it."""
    size, more = 0, True
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while more and size <= limit:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return False
    return not more
