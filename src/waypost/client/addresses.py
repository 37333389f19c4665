"""Addresses: which gateway is asked next. In turn, but one that just failed, or was overtaken by another, is left
alone: each time longer, until it answers. After its rest one call tries it; the others wait to see.

A call that finds one dead costs a second try. A gateway that is gone for good must not cost one again and again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from waypost.client.errors import BadSetup

REST_SECONDS = 1.0  # the first rest: a gateway that stops is gone from its Service within about that time
LONGEST_REST_SECONDS = 30.0  # how late one that came back is noticed at worst, while another answers
JITTER = 0.25  # of a rest, which is shorter by up to that: many processes must not all try at once
TRIAL_SECONDS = 1.0  # how long the others wait to see how the one call fares that tries an address after its rest
_DOUBLINGS = 16  # far more than it takes to the longest rest


@dataclass
class _Rest:
    until: float  # as all times here: seconds by the clock of whoever asks
    failures: int = 1  # in a row
    tried_until: float = 0.0  # another call is finding out

    def is_over(self, now: float) -> bool:
        return now >= max(self.until, self.tried_until)


class Addresses:
    def __init__(self, urls: str | Iterable[str]) -> None:
        """Raises BadSetup for what is no `http://host:port`."""
        self._urls = [_checked(url) for url in _listed(urls)]
        if not self._urls:
            raise BadSetup("no address of a gateway is given", "give at least one, such as http://waypost-gateway:8080")
        self._turn = random.randrange(len(self._urls))  # noqa: S311 -- many processes must not all begin with the first
        self._rests: dict[str, _Rest] = {}

    def next(self, now: float) -> str:
        """The next in turn, rather one that does not rest."""
        self._turn = (self._turn + 1) % len(self._urls)
        return self._first_awake(self._urls[self._turn :] + self._urls[: self._turn], now)

    def other(self, than: str, now: float) -> str:
        """Another one, where there is one; whose turn it is stays as it was."""
        after = self._urls.index(than) + 1
        others = [url for url in self._urls[after:] + self._urls[:after] if url != than]
        return self._first_awake(others, now) if others else than

    def failed(self, url: str, began: float, now: float) -> None:
        """A try that began then failed now. One that began before the last rest was over tells nothing new."""
        rest = self._rests.get(url)
        if rest is None:
            self._rests[url] = _Rest(now + _rest_seconds(1))
        elif began >= rest.until:
            failures = min(rest.failures + 1, _DOUBLINGS)
            self._rests[url] = _Rest(now + _rest_seconds(failures), failures)

    def answered(self, url: str) -> None:
        self._rests.pop(url, None)

    def _first_awake(self, urls: Sequence[str], now: float) -> str:
        """The first that does not rest; where all do, the first."""
        for url in urls:
            rest = self._rests.get(url)
            if rest is None or rest.is_over(now):
                if rest is not None:
                    rest.tried_until = now + TRIAL_SECONDS
                return url
        return urls[0]


def _rest_seconds(failures: int) -> float:
    longest: float = min(REST_SECONDS * 2 ** (failures - 1), LONGEST_REST_SECONDS)
    return longest * random.uniform(1 - JITTER, 1)  # noqa: S311 -- chance, not a secret


def _listed(urls: str | Iterable[str]) -> list[str]:
    if isinstance(urls, str):
        return [urls]
    try:
        return list(urls)
    except TypeError:
        raise BadSetup(
            f"{type(urls).__name__} is no address of a gateway", "give http://host:port, or a list of such"
        ) from None


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        _ = parts.port  # raises where it is no number
    except (ValueError, AttributeError, TypeError):
        fits = False
    if not fits:
        raise BadSetup(f"{url!r} is no address of a gateway", "write it as http://host:port")
    return url.rstrip("/")
