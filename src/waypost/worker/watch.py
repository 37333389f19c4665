"""Watched work: something that may hang runs in a thread of its own, while its caller looks whether it is still wanted.

What is not wanted any more is left to itself: it may go on for long, and whoever left it asks later how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from waypost.errors import Superseded

LOOK_SECONDS = 1.0  # a rollback is seen this soon while a load is under way
T = TypeVar("T")


class Left(Superseded):
    """The pointer was moved: what was under way is left to itself, and a later look goes on."""


class Work(Generic[T]):
    """One call in a thread of its own."""

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self._call = call
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._results: list[T] = []
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether it ended by then."""
        return self._ended.wait(seconds)

    def result(self) -> T:
        """Of work that has ended. Raises what the call raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()


def watched(work: Work[T], wanted: Callable[[], bool], look_seconds: float | None = None) -> T:
    """What the work returns or raises. Raises Left as soon as it is not wanted any more."""
    while not work.wait(LOOK_SECONDS if look_seconds is None else look_seconds):
        if not wanted():
            raise Left("the pointer was moved while a release was being taken up")
    return work.result()
