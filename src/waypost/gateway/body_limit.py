"""BodyLimit: reads a request's body whole, up to a limit, before anything else sees the request; beyond it answers 413.

It counts what arrives, so a body without Content-Length (or with a wrong one) is stopped too; the rest is never read.
"""

from __future__ import annotations

import asyncio

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_SECONDS = 10.0  # the longest deadline; a body that takes longer is nobody's request
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class BodyLimit:
    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS_WITH_BODY:
            await self._app(scope, receive, send)
            return
        if announced_length(scope) > self._limit:
            await _refuse(send, 413, f"the body is larger than {self._limit} bytes")
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._read(receive)
        except TimeoutError:
            await _refuse(send, 408, f"the body did not come within {BODY_SECONDS:.0f} seconds")
            return
        if body is None:
            await _refuse(send, 413, f"the body is larger than {self._limit} bytes")
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, or None as soon as it is too large."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            chunk = message.get("body", b"")  # absent in http.disconnect
            size += len(chunk)
            if size > self._limit:
                return None
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)


def announced_length(scope: Scope) -> int:
    """Content-Length in bytes; 0 when absent (the HTTP parser has refused one that is no number)."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return 0


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


async def _refuse(send: Send, status: int, detail: str) -> None:
    """Answer and close the connection: what follows on it is the rest of the body."""
    body = orjson.dumps({"detail": detail})
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
