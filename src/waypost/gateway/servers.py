"""Server: one listening socket and its connections, started, made to leave and stopped; Servers: several, in order.

In place of uvicorn's own server, which takes the process' signals, polls, and at its end drops the connections that
the kernel had taken and nobody had accepted yet.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Iterator
from typing import cast

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from waypost.gateway.connection import Connection
from waypost.gateway.reception import Patience, Reception

IN_FLIGHT_SECONDS = 12.0  # the longest deadline (10 s) and its answer's way
AGAIN_SECONDS = 0.1  # from an answer to the next request of a caller who asks without pause
FIRST_SECONDS = 1.0  # from a connection to its first request: who has just been let in is answered
SWEEP_SECONDS = 0.5  # a limit of seconds is kept to half a second
EVICTED_SHARE = 8  # where there is no room, one of so many waiting connections goes: a sort for each is too much work
PLENTY_OF_FILES = 1 << 20  # where the system sets no limit, Linux' own default for one process
RESERVED_FILES = 256  # sockets and files of ours that no caller's connection may take


class Server:
    def __init__(self, app: ASGIApp, bound: socket.socket, max_connections: int, reception: Reception) -> None:
        self._config = Config(
            app, lifespan="off", access_log=False, log_config=None, ws="none", proxy_headers=False,
            server_header=False, date_header=False,
        )  # fmt: skip
        self._config.load()
        self._bound, self._max_connections = bound, max_connections
        self._state = ServerState()
        self._reception = reception
        self._loop = asyncio.get_running_loop()
        self._listening: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Return once connections are answered."""
        self._listening = await self._loop.create_server(self._connection, sock=self._bound)
        self._sweep()

    def leave(self) -> None:
        """Answer everything still, with `Connection: close`, so that callers go elsewhere."""
        self._reception.leaving = True
        for connection in self._connections():
            connection.leave()

    async def stop(self) -> None:
        """No new connections, what was accepted is answered, closed."""
        self.leave()
        await self._stop_listening()
        for _ in range(int(FIRST_SECONDS / AGAIN_SECONDS)):
            if any(map(self._may_still_ask, self._connections())):
                await asyncio.sleep(AGAIN_SECONDS)
        for connection in self._connections():
            connection.shutdown()
        await self._wait_until_empty()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _may_still_ask(self, connection: Connection) -> bool:
        """It has just been opened or answered: a request may be on its way, and would meet a closed door."""
        seconds = FIRST_SECONDS if connection.cycle is None else AGAIN_SECONDS
        return connection.is_idle and self._loop.time() - connection.since < seconds

    async def _stop_listening(self) -> None:
        rest = list(self._taken_by_the_kernel())
        if self._listening is not None:
            self._listening.close()
        self._bound.close()
        for accepted in rest:
            await self._loop.connect_accepted_socket(self._connection, accepted)
        for _ in range(2):  # the loop looks at every socket between two turns: what a caller has sent is read
            await asyncio.sleep(0)

    def _taken_by_the_kernel(self) -> Iterator[socket.socket]:
        """Connections that nobody accepted yet: closing the listening socket would reset them."""
        while True:
            try:
                accepted, _ = self._bound.accept()
            except OSError:
                return
            accepted.setblocking(False)
            yield accepted

    async def _wait_until_empty(self) -> None:
        try:
            async with asyncio.timeout(IN_FLIGHT_SECONDS):
                while self._state.connections:
                    self._reception.emptied.clear()
                    await self._reception.emptied.wait()
        except TimeoutError:
            for connection in self._connections():
                connection.transport.abort()

    def _connection(self) -> Connection:
        if len(self._state.connections) >= self._max_connections:
            self._make_room()
        return Connection(self._reception, self._config, self._state, self._loop)

    def _make_room(self) -> None:
        """Close the connections that have waited longest for their caller, those first that never asked anything."""
        waiting = [connection for connection in self._connections() if connection.waits_for_caller]
        waiting.sort(key=lambda connection: (connection.cycle is not None, connection.since))
        for connection in waiting[: len(waiting) // EVICTED_SHARE + 1]:
            connection.evict()

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in self._connections():
            connection.sweep(now)
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _connections(self) -> list[Connection]:
        return cast(list[Connection], list(self._state.connections))


class Servers:
    """In the order in which they are to stop."""

    def __init__(self, max_connections: int, patience: Patience) -> None:
        self._patience = patience
        self._max_connections = min(max_connections, allowed_files() - RESERVED_FILES)
        self._running: list[Server] = []

    async def start(
        self, app: ASGIApp, bound: socket.socket, count_refused: Callable[[int], None] = lambda status: None
    ) -> Server:
        """Return once connections are answered."""
        server = Server(app, bound, self._max_connections, Reception(self._patience, count_refused))
        await server.start()
        self._running.append(server)
        return server

    async def stop(self) -> None:
        """Each in turn: no new connections, what is in flight finished, closed."""
        for server in self._running:
            await server.stop()


def allowed_files() -> int:
    """Open files that this process may have, after asking for as many as it can get."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return PLENTY_OF_FILES
    if most == resource.RLIM_INFINITY:
        most = max(allowed, PLENTY_OF_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
