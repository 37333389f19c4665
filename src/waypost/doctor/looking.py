"""Looks side by side, each in a thread of its own that is left behind when it hangs: all of it ends in time.

A look says something of one part after the other. Where it stops, by an error, by silence, or because a part is bad,
the parts that it has not come to are skipped and say so. Threads are daemons: a driver that hangs keeps no process
alive.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from waypost.doctor.findings import Finding, Level, skipped
from waypost.errors import WaypostError


@dataclass(frozen=True)
class Part:
    """One part of a look. `seconds` count from the finding before; a look's own calls should end sooner."""

    name: str
    seconds: float
    fix: str = ""  # where an error names no remedy
    when_silent: Level = "bad"


@dataclass(frozen=True)
class Look:
    """`find` yields a finding or more for each of these parts, in this order."""

    parts: tuple[Part, ...]
    find: Callable[[], Iterator[Finding]]

    def silent(self, found: Iterable[Finding]) -> list[Part]:
        """The parts that it has said nothing of."""
        told = {finding.part for finding in found}
        return [part for part in self.parts if part.name not in told]


@dataclass(frozen=True)
class _End:
    """Why a look went no further; all empty where it was through."""

    level: Level | None = None
    what: str = ""
    fix: str = ""


def examine(looks: Sequence[Look]) -> list[Finding]:
    """What all of them found, in their order. Ends within the seconds of the longest look, whatever hangs."""
    begun = [_Begun(look) for look in looks]
    return [finding for one in begun for finding in one.findings()]


class _Begun:
    """A look at work."""

    def __init__(self, look: Look) -> None:
        self._look, self._since = look, time.monotonic()
        self._told: queue.SimpleQueue[tuple[float, Finding | _End]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=look.parts[0].name, daemon=True).start()

    def findings(self) -> list[Finding]:
        found: list[Finding] = []
        while isinstance(told := self._next(self._current(found)), Finding):
            found.append(told)
        return [*found, *self._left(found, told)]

    def _work(self) -> None:
        end = _End()
        try:
            for finding in self._look.find():
                self._tell(finding)
        except WaypostError as error:
            end = _End("bad", error.cause, error.remedy)
        except ModuleNotFoundError as error:
            end = _End("skipped", f"the package {error.name} is not installed here", "pip install 'waypost[local]'")
        except Exception as error:  # a mistake of ours must not hide what the other looks found
            end = _End("bad", f"the look itself failed: {type(error).__name__}", "report it, with this line")
        self._tell(end)

    def _tell(self, told: Finding | _End) -> None:
        self._told.put((time.monotonic(), told))

    def _current(self, found: Sequence[Finding]) -> Part:
        return next(iter(self._look.silent(found)), self._look.parts[-1])

    def _next(self, part: Part) -> Finding | _End:
        try:
            self._since, told = self._told.get(timeout=max(0.0, self._since + part.seconds - time.monotonic()))
        except queue.Empty:
            return _End(part.when_silent, f"gave no answer within {part.seconds:g} s", part.fix)
        return told

    def _left(self, found: Sequence[Finding], end: _End) -> Iterator[Finding]:
        """What is said of the parts that nothing was found of."""
        silent = self._look.silent(found)
        if end.level is not None:
            blamed = silent.pop(0) if silent else self._look.parts[-1]
            yield Finding(blamed.name, end.level, end.what, end.fix or blamed.fix)
            cause = blamed.name
        else:
            cause = found[-1].part if found else ""
        yield from (skipped(part.name, f"{cause} could not be used") for part in silent)
