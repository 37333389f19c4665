"""Proxies: all links of a stage, in one event loop of a thread of its own; ordered about from the test's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.chaos.history import History, Trapped
from tests.chaos.http_link import HttpLink
from tests.chaos.lag import LagProbe
from tests.chaos.link_faults import LinkFaults
from tests.chaos.triton_link import TritonLink

PATIENCE_SECONDS = 20.0
TRAP_HOST = "127.0.0.3"
T = TypeVar("T")
Link = HttpLink | TritonLink


class Proxies:
    """A context manager."""

    def __init__(self, history: History) -> None:
        self.links: dict[str, Link] = {}
        self.lag = LagProbe()
        self._history = history
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._chores: list[asyncio.Task[None]] = []
        self._traps: list[asyncio.Server] = []

    def __enter__(self) -> Proxies:
        self._thread.start()
        self._do(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    def open(self, link: Link) -> None:
        self.links[link.name] = link
        self._do(link.start())

    def faults(self, name: str) -> LinkFaults:
        return self.links[name].faults

    def reset(self, *names: str) -> None:
        """Cut every connection of these links."""
        for name in names:
            self._do(_reset(self.links[name]))

    def trap(self) -> int:
        """A port of an address that no reply may ever go to."""

        async def listen() -> int:
            server = await asyncio.start_server(self._trapped, TRAP_HOST, 0)
            self._traps.append(server)
            port: int = server.sockets[0].getsockname()[1]
            return port

        return self._do(listen())

    async def _trapped(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(80)
        self._history.add(Trapped(self._loop.time(), first.decode("latin-1")))
        writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def _begin(self) -> None:
        self._chores.append(asyncio.create_task(self.lag.run()))

    async def _end(self) -> None:
        for link in self.links.values():
            await link.stop()
        for trap in self._traps:
            trap.close()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)


async def _reset(link: Link) -> None:
    done = link.reset_all()
    if done is not None:
        await done
