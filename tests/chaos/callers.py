"""Two ways to ask: over raw kept connections, one try and no more, which shows what a gateway does; and through
waypost.client, which shows what an app sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.chaos.http1 import Message, read_message
from tests.chaos.world import marks_of
from waypost.client import AsyncClient, ClientError

PATIENCE_SECONDS = 5.0  # beyond its deadline; then a request counts as never answered
READY_ANSWER_SECONDS = 0.5
GONE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Question:
    number: int
    intended: float
    deadline_ms: int
    k: int

    def body(self) -> bytes:
        marks = marks_of(self.number)
        asked = {
            "user_id": marks.user, "k": self.k, "exclude_post_ids": marks.excluded, "deadline_ms": self.deadline_ms,
        }  # fmt: skip
        return orjson.dumps(asked)


@dataclass
class Outcome:
    sent: float
    ended: float = 0.0
    status: int = 0
    trouble: str = ""  # refused, closed, patience
    answer: dict[str, Any] = field(default_factory=dict)
    retry_after: str = ""


@dataclass
class Gateway:
    name: str
    port: int
    pid: int = 0
    ready: bool = False
    idle: list[Connection] = field(default_factory=list)

    async def ask(self, question: Question) -> Outcome:
        """One try, on a kept connection where there is one."""
        outcome = Outcome(time.monotonic())
        try:
            reader, writer = await self._connected()
        except OSError:
            outcome.trouble = "refused"
        else:
            outcome.trouble = await self._exchange(question, reader, writer, outcome)
        outcome.ended = outcome.ended or time.monotonic()
        return outcome

    async def look(self) -> None:
        """Whether it says that it is ready."""
        try:
            async with asyncio.timeout(READY_ANSWER_SECONDS):
                self.ready = await self._says_ready()
        except (TimeoutError, *GONE):
            self.ready = False

    async def _connected(self) -> Connection:
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def _exchange(
        self, question: Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outcome: Outcome
    ) -> str:
        """The trouble, if there was one."""
        try:
            outcome.sent = time.monotonic()
            writer.write(_post(question.body()))
            async with asyncio.timeout(question.deadline_ms / 1_000 + PATIENCE_SECONDS):
                message = await read_message(reader)
            outcome.ended = time.monotonic()
            if message is None:
                raise ConnectionResetError
            outcome.status = message.status
            outcome.retry_after = message.headers.get(b"retry-after", b"").decode()
            outcome.answer = orjson.loads(message.body) if message.body else {}
        except (TimeoutError, *GONE) as error:
            writer.transport.abort()
            return "patience" if isinstance(error, TimeoutError) else "closed"
        if message.headers.get(b"connection", b"").lower() == b"close":
            writer.close()
        else:
            self.idle.append((reader, writer))
        return ""

    async def _says_ready(self) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            message = await read_message(reader)
            return message is not None and message.status == 200
        finally:
            writer.close()


class App:
    """An app that asks through waypost.client and has nothing to fall back to."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._client = AsyncClient([f"http://127.0.0.1:{gateway.port}" for gateway in gateways])

    async def ask(self, question: Question) -> Outcome:
        marks, outcome = marks_of(question.number), Outcome(time.monotonic())
        try:
            found = await self._client.recommend(
                marks.user, question.k, exclude_post_ids=marks.excluded, deadline_ms=question.deadline_ms
            )
        except ClientError as error:
            outcome.trouble, outcome.ended = f"client: {error}", time.monotonic()
            return outcome
        outcome.ended = time.monotonic()
        if found.source == "fallback":  # its own last popular answer: an answer to the app, and none of a gateway
            outcome.trouble = f"client: {found.cause}"
        else:
            outcome.status, outcome.answer = 200, found.model_dump()
        return outcome

    async def close(self) -> None:
        await self._client.close()


def _post(body: bytes) -> bytes:
    headers = {b"host": b"127.0.0.1", b"content-type": b"application/json"}
    return Message(b"POST /recommend HTTP/1.1", headers, body).encode()
