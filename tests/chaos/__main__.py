"""Saved histories: `python -m tests.chaos check FILE…` judges them again and exits 1 where a promise was broken;
`python -m tests.chaos tell FILE NUMBER-OR-REQUEST` prints all that became of one request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.checker import check
from tests.chaos.history import Asked, Event, Fault, History, Process, load


def check_files(names: Sequence[str]) -> int:
    broken = False
    for name in names:
        history = load(Path(name))
        verdict = check(history)
        print(f"{name}: {history.about}", *verdict.lines(), sep="\n")
        broken = broken or bool(verdict.violations)
    return 1 if broken else 0


def tell(name: str, wanted: str) -> int:
    """Its events, and what was done to processes and links around them."""
    history = load(Path(name))
    ids = _ids_of(history, wanted)
    own = [event for event in history.events if {str(getattr(event, key, "")) for key in ("number", "request")} & ids]
    own += [event for event in history.events if getattr(event, "handle", None) in _handles(own)]
    begin, end = min(map(_at, own), default=0.0) - 1, max(map(_at, own), default=0.0) + 1
    around = [event for event in history.events if isinstance(event, Fault | Process) and begin <= _at(event) <= end]
    for event in sorted({repr(one): one for one in [*own, *around]}.values(), key=_at):
        print(f"{_at(event) - begin:8.3f} {event}")
    return 0


def _ids_of(history: History, wanted: str) -> set[str]:
    """Its number and its request ids."""
    pairs = {(str(getattr(one, "number", "")), str(getattr(one, "request", ""))) for one in history.events}
    ids = {wanted}
    for _ in range(2):  # from a request to its number, and from there to a second request of the same question
        ids |= {one for pair in pairs if ids & set(pair) for one in pair} - {"", "-1"}
    return ids


def _handles(events: Sequence[Event]) -> set[Any]:
    return {getattr(event, "handle", None) for event in events} - {None}


def _at(event: Event) -> float:
    return event.sent if isinstance(event, Asked) else event.at


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    sys.exit(check_files(arguments) if verb == "check" else tell(*arguments))
