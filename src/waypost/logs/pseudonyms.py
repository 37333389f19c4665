"""Pseudonyms: a user's id as a keyed hash that is another one every day (UTC).

With it the lines of one user and one day can be found together, and by whoever holds the secret those of a user who
complains. Without the secret nobody can tell which user a line is about, not by trying all ids either, nor that two
lines of different days are about the same one. Whoever holds the secret can do both, for past days too, until it is
destroyed: `docs/logs.md`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

DAY_SECONDS = 86_400
DIGITS = 16  # hexadecimal: of ten million users a day no two share one, but for a chance of 1 in 370,000
# What a day's key is made of, so that it is no signature of a message: those are of JSON objects.
PURPOSE = b"waypost log pseudonyms "


class Pseudonyms:
    """Safe for use by several threads. `derive` makes a key of the secret and what it is for."""

    def __init__(self, derive: Callable[[bytes], bytes], now: Callable[[], float] = time.time) -> None:
        self._derive, self._now = derive, now
        self._today = self._key_of(0)

    def of(self, user_id: int | str) -> str:
        """16 hexadecimal digits; the same in every process that shares the secret, for the day."""
        day = int(self._now() // DAY_SECONDS)
        if self._today[0] != day:
            self._today = self._key_of(day)
        id_bytes = str(user_id).encode("utf-8", "surrogatepass")
        return hmac.digest(self._today[1], id_bytes, "sha256").hex()[:DIGITS]

    def _key_of(self, day: int) -> tuple[int, bytes]:
        date = time.strftime("%Y-%m-%d", time.gmtime(day * DAY_SECONDS))
        return day, self._derive(PURPOSE + date.encode())
