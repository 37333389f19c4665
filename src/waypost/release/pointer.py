"""The pointer `releases/current.json`: which release is served, since when, why, and who said so.

It is moved by conditional write only, so of two who move it at the same moment exactly one does and the other is told
Superseded. The object carries a digest of its own content: a flipped digit is noticed, and one written by hand without
the digest is read. Each move is also a line of the audit.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from waypost.clock import Clock
from waypost.errors import CorruptObject, StoreUnavailable, Superseded
from waypost.objects.protocols import ObjectStore, StoredObject
from waypost.release import audit
from waypost.release.store import PLAIN_NAME

logger = logging.getLogger(__name__)
POINTER_KEY = "releases/current.json"
KEPT_HISTORY = 100  # served releases that the pointer remembers
MOVE_ATTEMPTS = 5  # S3 may answer a conditional write with 409 although nobody else's went through
BETWEEN_ATTEMPTS_SECONDS = 0.05
REMEDY = "name a good release with `waypost release rollback ID`"
DIGEST = "sha256"
SHOWN_CHARACTERS = 50  # of a wrong name, in an error
How = Literal["publish", "rollback", "pin", "unpin", "retreat"]


@dataclass(frozen=True)
class Pointer:
    """Which release is served, since when and why."""

    release: str
    version: int
    moved_at: str  # ISO 8601, UTC
    reason: str
    highest_version: int  # ever served: a rolled-back version number is never given again
    number: int  # of this move; one more each time
    served: tuple[str, ...]  # releases that were pointed to, oldest first: what a rollback may go back to
    how: How = "publish"
    moved_by: str = ""  # user@host, or the pod's name
    came_from: str | None = None  # what was pointed to before this move
    pinned: bool = False  # exporters publish and do not point

    def to_bytes(self) -> bytes:
        content = asdict(self)
        return json.dumps({**content, DIGEST: _digest(content)}, indent=2).encode()


@dataclass(frozen=True)
class Target:
    """What the pointer shall say."""

    release: str
    version: int
    how: How
    reason: str
    by: str
    pinned: bool = False


@dataclass(frozen=True)
class HeldPointer:
    """A pointer as read, with what is needed to move exactly that one."""

    pointer: Pointer
    etag: str


def read_pointer(store: ObjectStore) -> HeldPointer | None:
    """The pointer, or None when no release was ever published. Raises CorruptObject, StoreUnavailable."""
    found = store.get(POINTER_KEY)
    return HeldPointer(parse_pointer(found.body), found.etag) if found else None


def parse_pointer(body: bytes) -> Pointer:
    """Raises CorruptObject for what is no pointer, and for one that is not as it was written."""
    try:
        content = json.loads(body)
        written = content.pop(DIGEST, None)
        pointer = _pointer(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptObject(f"{POINTER_KEY} is not a pointer: {type(error).__name__} {error}", REMEDY) from None
    if written is not None and written != _digest(content):
        raise CorruptObject(f"{POINTER_KEY} was changed after it was written", REMEDY)
    return pointer


def _pointer(content: dict[str, Any]) -> Pointer:
    how, came_from, pinned = content.get("how", "publish"), content.get("came_from"), content.get("pinned", False)
    if how not in get_args(How) or not isinstance(pinned, bool):
        raise ValueError("how or pinned")
    return Pointer(
        release=_plain(content["release"]),
        version=_whole(content["version"]),
        moved_at=str(content["moved_at"]),
        reason=str(content["reason"]),
        highest_version=_whole(content["highest_version"]),
        number=_whole(content["number"]),
        served=tuple(_plain(name) for name in content.get("served", [content["release"]])),
        how=how,
        moved_by=str(content.get("moved_by", "")),
        came_from=None if came_from is None else _plain(came_from),
        pinned=pinned,
    )


def _plain(name: object) -> str:
    if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{str(name)[:SHOWN_CHARACTERS]!r} is no name of a release")
    return name


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no number")
    return value


def _digest(content: Mapping[str, object]) -> str:
    """Of the content, not of its spelling: whoever formats the object anew changes nothing."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def move_pointer(store: ObjectStore, held: HeldPointer | None, target: Target, clock: Clock) -> Pointer:
    """Point to the target, provided that nobody moved the pointer since `held` was read; else Superseded.

    Raises StoreUnavailable when nobody can say whether it was moved.
    """
    if held is None:
        return _move(store, _remembered(store), None, target, clock)
    audit.write_line(store, line_of(held.pointer))  # whoever moved it may have died before
    return _move(store, Past.of(held.pointer), held.etag, target, clock)


def replace_damaged(store: ObjectStore, target: Target, clock: Clock) -> Pointer:
    """Point to the target whatever the pointer says now; the audit knows what a damaged one does not tell.

    A pin that the audit knows of stays.
    """
    found, past = store.get(POINTER_KEY), _remembered(store)
    kept = replace(target, pinned=target.pinned or past.pinned)
    return _move(store, past, found.etag if found else None, kept, clock)


def line_of(pointer: Pointer) -> audit.AuditLine:
    """What the audit says of the move that made this pointer."""
    return audit.AuditLine(
        number=pointer.number,
        when=pointer.moved_at,
        who=pointer.moved_by,
        how=pointer.how,
        why=pointer.reason,
        from_release=pointer.came_from,
        to_release=pointer.release,
    )


@dataclass(frozen=True)
class Past:
    """What a new pointer takes over from the one before."""

    release: str | None
    number: int
    highest_version: int
    served: tuple[str, ...]
    pinned: bool

    @classmethod
    def of(cls, pointer: Pointer) -> Past:
        return cls(pointer.release, pointer.number, pointer.highest_version, pointer.served, pointer.pinned)


def _remembered(store: ObjectStore) -> Past:
    """Of moves before the first one, or before one whose pointer was lost: the audit has a line of each."""
    lines = audit.read_lines(store, KEPT_HISTORY)
    served = tuple(dict.fromkeys(line.to_release for line in lines if PLAIN_NAME.fullmatch(line.to_release)))
    newest = served[0] if served else None
    return Past(newest, audit.newest_number(store), 0, served[::-1], audit.says_pinned(lines))


def _move(store: ObjectStore, past: Past, etag: str | None, target: Target, clock: Clock) -> Pointer:
    moved = Pointer(
        release=target.release,
        version=target.version,
        moved_at=datetime.fromtimestamp(clock.now(), UTC).isoformat(timespec="milliseconds"),
        reason=audit.plain_text(target.reason),
        highest_version=max(target.version, past.highest_version),
        number=past.number + 1,
        served=(*(name for name in past.served if name != target.release), target.release)[-KEPT_HISTORY:],
        how=target.how,
        moved_by=audit.plain_text(target.by),
        came_from=past.release,
        pinned=target.pinned,
    )
    _put(store, etag, moved, clock)
    try:
        audit.write_line(store, line_of(moved))
    except StoreUnavailable as error:  # moved it is; the next who moves writes this line
        logger.warning("audit line not written yet", extra={"number": moved.number, "cause": str(error)})
    return moved


def _by_whom(found: StoredObject | None) -> str:
    try:
        other = parse_pointer(found.body) if found else None
    except CorruptObject:
        other = None
    if other is None:
        return "the pointer was moved by somebody else"
    return f"the pointer was moved to {other.release} ({other.how} by {other.moved_by or 'somebody else'})"


def _put(store: ObjectStore, etag: str | None, moved: Pointer, clock: Clock) -> None:
    """Where nothing is, or instead of the object with that etag. Raises Superseded, StoreUnavailable."""
    body = moved.to_bytes()
    for attempt in range(MOVE_ATTEMPTS):
        clock.sleep(attempt * BETWEEN_ATTEMPTS_SECONDS)
        if store.put_if(POINTER_KEY, body, etag) if etag else store.put_new(POINTER_KEY, body):
            return
        found = store.get(POINTER_KEY)
        if found is not None and found.body == body:  # the first answer was lost, and the S3 client wrote again
            return
        if (found.etag if found else None) != etag:
            raise Superseded(f"superseded: {_by_whom(found)} before {moved.release}")
    raise StoreUnavailable(f"S3 answered {MOVE_ATTEMPTS} times that {POINTER_KEY} is being written", "run it again")
