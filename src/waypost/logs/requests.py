"""RequestLog: which requests have a line: every one that was no plain success, and a sample of the plain successes.

The sample is chosen by the request's id, which is random: gateway and worker choose the same ones. Where nothing was
chosen for a while, the next one is, so that a quiet service shows that it lives. What anybody can cause without being
let in is bounded: a flood of it is counted and told in a line a second.
"""

from __future__ import annotations

import hmac
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Literal, ParamSpec

from waypost.logs.lines import Line
from waypost.logs.pseudonyms import Pseudonyms
from waypost.logs.writer import LogWriter

LOGGER = "waypost.requests"
SLOW_SECONDS = 0.25  # the objective: an answer that took longer is told of, in time or not
BOUNDED_LINES = 10  # a second of one kind: enough to see what it is
SLOW_LINES = 1  # a second: under full load most are slow, and each line takes time from the next
ID_DIGITS = 16  # of a request's id, hexadecimal, that choose
BEYOND_ALL = "g"  # above every hexadecimal digit
logger = logging.getLogger(LOGGER)
Chosen = Literal["sample", "quiet"]
P = ParamSpec("P")


class RequestLog:
    """Safe for use by several threads; `put` must never wait or raise. Where nobody listens: `silent`."""

    def __init__(
        self,
        put: Callable[[Line], None],
        pseudonyms: Pseudonyms | None = None,
        one_of: int = 1_000,
        quiet_seconds: float = 10.0,
    ) -> None:
        """`one_of`: so many plain successes one has a line; 0: none has. `quiet_seconds`: then the next one has."""
        self._put, self._pseudonyms = put, pseudonyms or Pseudonyms(_random_derivation())
        self._below = _threshold(one_of)
        self._quiet_seconds = quiet_seconds if one_of else math.inf
        self._quiet_until = -math.inf if one_of else math.inf  # monotonic seconds
        self._floods = Floods()

    def chooses(self, request_id: str, now: float) -> Chosen | None:
        """Why a plain success has a line; None: it has none. `now`: monotonic seconds."""
        if request_id < self._below:
            self._quiet_until = now + self._quiet_seconds
            return "sample"
        if now < self._quiet_until:
            return None
        self._quiet_until = now + self._quiet_seconds
        return "quiet"

    def pseudonym(self, user_id: int | str) -> str:
        return self._pseudonyms.of(user_id)

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """One line; `fields` is not to be changed after. Where they say no release, it is this process' own."""
        if logger.isEnabledFor(level):
            self._put(Line(time.time(), level, LOGGER, event, fields))

    def has_room(self, kind: str, most: int = BOUNDED_LINES) -> bool:
        """Whether there were not too many of this kind in this second; else this one is counted instead."""
        return self._floods.admits(kind, time.monotonic(), most)

    def tell_floods(self) -> None:
        """To be called every second: how many had no line."""
        for kind, count in self._floods.left_out().items():
            self.write(logging.WARNING, "more like these", {"kind": kind, "requests": count})


class Floods:
    """So many of a kind a second, and the rest counted; kinds are few."""

    def __init__(self) -> None:
        self._second = -math.inf
        self._admitted: dict[str, int] = {}
        self._left_out: dict[str, int] = {}
        self._lock = threading.Lock()

    def admits(self, kind: str, now: float, most: int = BOUNDED_LINES) -> bool:
        """`now`: monotonic seconds."""
        with self._lock:
            if now - self._second >= 1.0:
                self._second = now
                self._admitted.clear()
            admitted = self._admitted.get(kind, 0)
            if admitted < most:
                self._admitted[kind] = admitted + 1
                return True
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False

    def left_out(self) -> dict[str, int]:
        """Since it was asked last, by kind."""
        with self._lock:
            left_out, self._left_out = self._left_out, {}
        return left_out


def harmless(tell: Callable[P, None]) -> Callable[P, None]:
    """Whatever goes wrong with a line, the request goes on."""

    @wraps(tell)
    def told(*arguments: P.args, **named: P.kwargs) -> None:
        try:
            tell(*arguments, **named)
        except Exception:
            logger.exception("a line about a request could not be made")

    return told


def open_request_log(
    writer: LogWriter, derive: Callable[[bytes], bytes], one_of: int, quiet_seconds: float
) -> RequestLog:
    """By that writer; `derive` makes keys of the secret that this process shares with the others."""
    log = RequestLog(writer.put, Pseudonyms(derive), one_of, quiet_seconds)
    writer.each_second(log.tell_floods)
    return log


def silent() -> RequestLog:
    """Where nobody listens."""
    return RequestLog(lambda line: None, one_of=0)


def _threshold(one_of: int) -> str:
    """Ids below it are chosen; of a sparser sample it is lower, so what is in that is in every denser one."""
    if one_of == 0:
        return ""
    return BEYOND_ALL if one_of == 1 else f"{16**ID_DIGITS // one_of:0{ID_DIGITS}x}"


def _random_derivation() -> Callable[[bytes], bytes]:
    """Of a key that only this process has: its pseudonyms are no other process'."""
    key = secrets.token_bytes(32)
    return lambda purpose: hmac.digest(key, purpose, "sha256")
