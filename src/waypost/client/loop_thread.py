"""LoopThread: an event loop in a daemon thread, begun with the first piece of work it is given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

STOP_SECONDS = 1.0  # for connections to be closed
T = TypeVar("T")


class LoopThread:
    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T], timeout_seconds: float) -> T:
        """What the work returns or raises. Raises TimeoutError, CancelledError where it was stopped meanwhile, and
        RuntimeError after `stop`."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._begun())
        except RuntimeError:
            work.close()
            raise
        try:
            return future.result(timeout_seconds)
        finally:
            future.cancel()

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, do `last`, end. Any number of times."""
        with self._lock:
            was_stopped, self._stopped = self._stopped, True
        if was_stopped or self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._end, self._loop, last)
        if self._thread is not threading.current_thread():  # the garbage collector may stop us in any thread
            self._thread.join(STOP_SECONDS)

    def _begun(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._stopped:
                raise RuntimeError("the thread was stopped")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="waypost-client", daemon=True
                )  # fmt: skip
                self._thread.start()
            return self._loop

    @staticmethod
    def _end(loop: asyncio.AbstractEventLoop, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        running = asyncio.all_tasks(loop)
        for task in running:
            task.cancel()

        async def finish() -> None:
            await asyncio.gather(*running, return_exceptions=True)
            await last()

        ending = loop.create_task(finish())
        ending.add_done_callback(lambda _: loop.stop())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
