"""AsyncClient: for an app that awaits. One serves all tasks of an event loop; its connections are kept."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from waypost.client.answers import Recommendation
from waypost.client.asking import TagsGiven, to_asked
from waypost.client.call import Calls
from waypost.client.errors import closed
from waypost.client.fallback import Fallback, Fallbacks
from waypost.client.settling import settle
from waypost.questions import AppKey


class AsyncClient:
    def __init__(
        self,
        gateways: str | Sequence[str],
        *,
        api_key: str | None = None,
        fallback: Fallback | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`gateways`: one address or several, such as `http://waypost-gateway:8080`. Raises BadSetup."""
        self._calls, self._fallbacks = Calls(gateways, api_key, tls), Fallbacks(fallback)
        self._closed = False

    async def recommend(
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
        if self._closed:
            raise closed()
        asked = to_asked(
            user_id, k, recent_post_ids, exclude_post_ids, tags, query, exclude_seen, deadline_ms
        )  # fmt: skip
        return settle(asked, await self._calls.ask(asked), self._fallbacks)

    async def close(self) -> None:
        self._closed = True
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
