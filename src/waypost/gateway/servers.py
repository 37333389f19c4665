"""Servers: several uvicorn servers on one event loop, started together and stopped one after the other.

uvicorn would take the process' signals for each of them; here the process has one signal handler, in run.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from waypost.errors import WaypostError

IN_FLIGHT_SECONDS = 12  # the longest deadline (10 s) and its answer's way
KEEP_ALIVE_SECONDS = 75  # longer than the 60 s after which load balancers close an idle connection themselves
STARTED_POLL_SECONDS = 0.005


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Servers:
    """In the order in which they are to stop."""

    def __init__(self) -> None:
        self._running: list[tuple[_Server, asyncio.Task[None]]] = []

    async def start(self, app: ASGIApp, bound: socket.socket) -> None:
        """Return once connections are answered."""
        config = uvicorn.Config(
            app,
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            date_header=False,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=IN_FLIGHT_SECONDS,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve([bound]))
        while not server.started:
            if task.done():
                await task  # tells why
                raise WaypostError("a server ended before it answered")
            await asyncio.sleep(STARTED_POLL_SECONDS)
        self._running.append((server, task))

    async def stop(self) -> None:
        """Each in turn: no new connections, what is in flight finished, closed."""
        for server, task in self._running:
            server.should_exit = True
            await task
