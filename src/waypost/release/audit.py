"""The audit: one object for each move of the pointer, `releases/audit/<number>.json`, written once and never swept.

A line is written after its move. Who moves next, and every exporter that starts, first writes the line of the pointer
at hand where it is missing, so somebody who dies in between leaves no hole. Where another line has the number, as
after a pointer written by hand, the second one goes beside it under `<number>-<digest>.json`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pwd
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from waypost.errors import CorruptObject, StoreUnavailable
from waypost.objects.bundle import CONCURRENT_TRANSFERS
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
PREFIX = "releases/audit/"
DIGEST_CHARACTERS = 8  # enough to tell apart the few lines that could ever have one number
WRITE_ATTEMPTS = 3  # S3 may answer a conditional write with 409 although nobody else's went through


@dataclass(frozen=True)
class AuditLine:
    number: int  # of the move
    when: str  # ISO 8601, UTC
    who: str
    how: str
    why: str
    from_release: str | None
    to_release: str

    def to_bytes(self) -> bytes:
        return json.dumps(self.as_json()).encode()

    def as_json(self) -> dict[str, object]:
        return {
            "number": self.number,
            "when": self.when,
            "who": self.who,
            "how": self.how,
            "why": self.why,
            "from": self.from_release,
            "to": self.to_release,
        }


def write_line(store: ObjectStore, line: AuditLine) -> None:
    """Have the line there; what is there already stays. Raises StoreUnavailable."""
    name = f"{line.number:09d}"
    if not _have(store, f"{PREFIX}{name}.json", line):
        beside = f"{name}-{hashlib.sha256(line.to_bytes()).hexdigest()[:DIGEST_CHARACTERS]}"
        logger.warning("another audit line has this number", extra={"number": line.number, "beside": beside})
        _have(store, f"{PREFIX}{beside}.json", line)


def _have(store: ObjectStore, key: str, line: AuditLine) -> bool:
    """False: something else is there."""
    for _ in range(WRITE_ATTEMPTS):
        if store.put_new(key, line.to_bytes()):
            return True
        if (found := store.get(key)) is not None:
            return found.body == line.to_bytes() or _parsed(found.body, key) == line
    raise StoreUnavailable(f"S3 answered {WRITE_ATTEMPTS} times that {key} is being written", "run it again")


def read_lines(store: ObjectStore, limit: int) -> list[AuditLine]:
    """The newest lines, newest first, each once, damaged ones left out. Raises StoreUnavailable."""
    keys = [info.key for info in store.list(PREFIX)]
    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:
        found = pool.map(lambda key: _read(store, key), keys[::-1][:limit])
        return list(dict.fromkeys(line for line in found if line))


def says_pinned(lines: Iterable[AuditLine]) -> bool:
    """Of lines, newest first: whether the last word on pinning was `pin`. A rollback's own `--pin` is not told here."""
    return next((line.how == "pin" for line in lines if line.how in ("pin", "unpin")), False)


def newest_number(store: ObjectStore) -> int:
    """Of the last move that has a line, readable or not; 0 before the first."""
    numbers = [int(name) for info in store.list(PREFIX) if (name := _name(info.key)).isdecimal()]
    return max(numbers, default=0)


def _name(key: str) -> str:
    return key.removeprefix(PREFIX).removesuffix(".json")


def _read(store: ObjectStore, key: str) -> AuditLine | None:
    found = store.get(key)
    return _parsed(found.body, key) if found else None


def _parsed(body: bytes, key: str) -> AuditLine | None:
    try:
        return parse_line(body, key)
    except CorruptObject as error:
        logger.warning("audit line left out", extra={"cause": str(error)})
        return None


def parse_line(body: bytes, where: str) -> AuditLine:
    try:
        said = json.loads(body)
        texts = {name: str(said[name]) for name in ("when", "who", "how", "why")}
        came_from = said["from"]
        return AuditLine(
            number=int(said["number"]),
            **texts,
            from_release=None if came_from is None else str(came_from),
            to_release=str(said["to"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptObject(f"{where} is no line of the audit: {type(error).__name__}", "look at it by hand") from None


def plain_text(text: str) -> str:
    """On one line and printable anywhere: line breaks and the like become spaces, half characters question marks."""
    return "".join(c if c.isprintable() else "?" if "\ud800" <= c <= "\udfff" else " " for c in text)


def whoami() -> str:
    """user@host; in a pod the host is the pod's name. Where the user has no name, as in many images, the host alone."""
    host = socket.gethostname()
    try:
        return f"{pwd.getpwuid(os.getuid()).pw_name}@{host}"
    except KeyError:
        return host
