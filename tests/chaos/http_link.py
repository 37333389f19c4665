"""HttpLink: one process' way to one service over HTTP, through a proxy that can hurt it in eight ways.

`blackhole`, `reset`, `error` and `delay` come before anything has happened; `error after`, `reset after` and `slow`
after the service did what it was asked. What a message means, the subclasses know.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tests.chaos.http1 import Message, answer, read_message, reset, write_slowly
from tests.chaos.link_faults import LinkFaults

BUFFER_BYTES = 8 << 20
GONE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)


class Cut(Exception):
    """The peer's connection ends here, by RST."""


class HttpLink:
    def __init__(self, name: str, listen: tuple[str, int], upstream: tuple[str, int], seed: int) -> None:
        self.name, self._listen, self._upstream = name, listen, upstream
        self.faults = LinkFaults(f"{seed}/{name}")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, *self._listen, limit=BUFFER_BYTES, backlog=1024)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset_all(self) -> None:
        """Every connection there is."""
        for writer in list(self._writers):
            reset(writer)

    async def ask(self, request: Message) -> Message | None:
        """Before the service: the answer in its place, or None to let it pass. May change the request."""
        return None

    async def told(self, request: Message, response: Message) -> Message:
        """What the service said, on its way back."""
        return response

    async def once(self, request: Message) -> Message:
        """One more request of the proxy's own."""
        upstream = _Upstream(self._upstream)
        try:
            return await upstream.ask(request)
        finally:
            upstream.close()

    def settled(self, request: Message, told: int) -> None:
        """The exchange is over: the peer was told this status; 0: nothing."""

    def refusal(self, request: Message) -> Message:
        return answer(503, b'{"detail": "chaos"}')

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        upstream = _Upstream(self._upstream)
        try:
            while (request := await read_message(reader)) is not None:
                await self._exchange(request, reader, writer, upstream)
        except (Cut, *GONE):
            reset(writer)
        except asyncio.CancelledError:  # the run is over
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            upstream.close()
            with suppress(Exception):
                writer.close()

    async def _exchange(
        self, request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: _Upstream
    ) -> None:
        told, request.notes["at"] = 0, time.monotonic()
        try:
            response = await self._before(request)
            if response is None:
                response = await self.told(request, await upstream.ask(request))
                if reader.at_eof():  # nobody is there any more to be told
                    raise Cut
                response = self._after(response)
            told = response.status
            await self._write(writer, response)
        finally:
            self.settled(request, told)

    async def _before(self, request: Message) -> Message | None:
        """Raises Cut."""
        if fault := self.faults.draw("delay"):
            await asyncio.sleep(self.faults.spread(fault.seconds))
        if fault := self.faults.draw("blackhole"):
            await asyncio.sleep(max(0.0, fault.until - time.monotonic()))
            raise Cut
        if self.faults.draw("reset"):
            raise Cut
        if self.faults.draw("error"):
            return self.refusal(request)
        return await self.ask(request)

    def _after(self, response: Message) -> Message:
        """Raises Cut."""
        if self.faults.draw("reset after"):
            raise Cut
        return answer(500, b"{}") if self.faults.draw("error after") else response

    async def _write(self, writer: asyncio.StreamWriter, response: Message) -> None:
        if fault := self.faults.draw("slow"):
            await write_slowly(writer, response.encode(), self.faults.spread(fault.seconds))
            return
        writer.write(response.encode())
        await writer.drain()


class _Upstream:
    """One connection to the service, made when it is needed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Message) -> Message:
        """Raises OSError or asyncio.IncompleteReadError. Nothing is asked twice: that would be a fault of its own."""
        if self._reader is not None and self._reader.at_eof():
            self.close()
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._address, limit=BUFFER_BYTES)
        self._writer.write(request.encode())
        response = await read_message(self._reader)
        if response is None:
            raise ConnectionResetError("the service closed the connection")
        if response.headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return response

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
