"""Addresses: which gateway is asked next. In turn, but one that just failed, or was overtaken by
another, is left alone for a moment."""

from __future__ import annotations

import random
from collections.abc import Sequence
from urllib.parse import urlsplit

from waypost.client.errors import BadSetup

REST_SECONDS = 1.0  # a gateway that stops is gone from its Service within about that time


class Addresses:
    def __init__(self, urls: str | Sequence[str]) -> None:
        """Raises BadSetup for what is no `http://host:port`."""
        self._urls = [_checked(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not self._urls:
            raise BadSetup("no address of a gateway is given", "give at least one, such as http://waypost-gateway:8080")
        self._turn = random.randrange(len(self._urls))  # noqa: S311 -- many processes must not all begin with the first
        self._rests_until: dict[str, float] = {}

    def next(self, now: float) -> str:
        """The next in turn, rather one that does not rest."""
        self._turn = (self._turn + 1) % len(self._urls)
        return self._first_awake(self._urls[self._turn :] + self._urls[: self._turn], now)

    def other(self, than: str, now: float) -> str:
        """Another one, where there is one; whose turn it is stays as it was."""
        after = self._urls.index(than) + 1
        others = [url for url in self._urls[after:] + self._urls[:after] if url != than]
        return self._first_awake(others, now) if others else than

    def _first_awake(self, urls: Sequence[str], now: float) -> str:
        return next((url for url in urls if self._rests_until.get(url, now) <= now), urls[0])

    def failed(self, url: str, now: float) -> None:
        self._rests_until[url] = now + REST_SECONDS

    def answered(self, url: str) -> None:
        self._rests_until.pop(url, None)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        _ = parts.port  # raises where it is no number
    except (ValueError, AttributeError):
        fits = False
    if not fits:
        raise BadSetup(f"{url!r} is no address of a gateway", "write it as http://host:port")
    return url.rstrip("/")
