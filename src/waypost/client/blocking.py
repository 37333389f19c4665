"""Client: for an app that blocks. Its calls run on one event loop in a thread of its own, so that two tries can be
under way at once and the deadline ends them whatever they wait for. Any number of threads may share one client.

A process that forks (gunicorn's workers, say) may make it before: each child gets a thread and connections of its own.
"""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from waypost.client.answers import Recommendation
from waypost.client.asking import Asked, TagsGiven, to_asked
from waypost.client.call import Calls
from waypost.client.errors import closed
from waypost.client.exchange import Failure, Outcome
from waypost.client.fallback import Fallback, Fallbacks
from waypost.client.loop_thread import LoopThread
from waypost.client.settling import settle
from waypost.questions import AppKey


@dataclass(frozen=True)
class _Own:
    """What belongs to one process: threads, connections and locks do not survive a fork."""

    thread: LoopThread
    calls: Calls
    fallbacks: Fallbacks


def _stop_own(by_process: Mapping[int, _Own]) -> None:
    own = by_process.get(os.getpid())
    if own is not None:
        own.thread.stop(own.calls.close)


class Client:
    def __init__(
        self,
        gateways: str | Sequence[str],
        *,
        api_key: str | None = None,
        fallback: Fallback | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`gateways`: one address or several, such as `http://waypost-gateway:8080`. Raises BadSetup."""
        self._make: Callable[[], _Own] = lambda: _Own(
            LoopThread(), Calls(gateways, api_key, tls), Fallbacks(fallback)
        )  # fmt: skip
        # By process id. That of a process which forked us stays as it is: to close it would disturb that process.
        self._by_process = {os.getpid(): self._make()}
        self._stop = weakref.finalize(self, _stop_own, self._by_process)  # also where nobody calls close

    def recommend(
        self,
        user_id: AppKey,
        k: int = 20,
        *,
        recent_post_ids: Sequence[AppKey] = (),
        exclude_post_ids: Sequence[AppKey] = (),
        tags: TagsGiven | None = None,
        query: str | None = None,
        exclude_seen: bool = True,
        deadline_ms: int = 250,
    ) -> Recommendation:
        """k posts for the user, within `deadline_ms` for the whole call, second try and fallback included.

        Raises InvalidRequest, KeyRefused, or Unavailable where nobody answers and there is nothing to fall back to.
        """
        asked = to_asked(
            user_id, k, recent_post_ids, exclude_post_ids, tags, query, exclude_seen, deadline_ms
        )  # fmt: skip
        own = self._own()
        return settle(asked, self._ask(own, asked), own.fallbacks)

    def close(self) -> None:
        """From any thread; a call under way ends in the fallback."""
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, own: _Own, asked: Asked) -> Outcome:
        if not self._stop.alive:
            raise closed()
        try:
            return own.thread.run(own.calls.ask(asked), asked.deadline_seconds)
        except TimeoutError:  # the loop's thread did not get to it: this machine is that busy
            return Failure("deadline", elsewhere=False)
        except (CancelledError, RuntimeError):  # closed meanwhile
            return Failure("closed", elsewhere=False)

    def _own(self) -> _Own:
        """Without a lock: one that was held during a fork would be held for ever."""
        process = os.getpid()
        return self._by_process.get(process) or self._by_process.setdefault(process, self._make())
