"""The exporter's last step, and its first: what an exporter that died left behind is put right before anything is made.

Until the pointer moves nobody serves any of it, and it moves once the release is whole. Killed at any point, the next
exporter finds the old release served or the new one, and goes on from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from waypost.clock import Clock
from waypost.errors import Superseded
from waypost.objects.protocols import ObjectStore
from waypost.release.audit import write_line
from waypost.release.moves import point_to
from waypost.release.pointer import HeldPointer, line_of, read_pointer
from waypost.release.signing import SIGNING_KEY, SigningKey
from waypost.release.store import load_release_manifest, publish
from waypost.release.sweeping import sweep_quietly

logger = logging.getLogger(__name__)
REFRESHED_FROM = "refreshed_from"  # among the facts of a refresh's release: the checkpoint that a training made


@dataclass(frozen=True)
class Release:
    """What is published."""

    name: str
    version: int
    files: dict[str, bytes]
    facts: dict[str, Any]


def prepare(store: ObjectStore, clock: Clock) -> HeldPointer | None:
    """The pointer that this exporter will move, its audit line there, abandoned uploads gone.

    Raises CorruptObject, StoreUnavailable.
    """
    held = read_pointer(store)
    if held is not None:
        write_line(store, line_of(held.pointer))
    sweep_quietly(store, clock.now())
    return held


def publish_and_point(
    store: ObjectStore, held: HeldPointer | None, release: Release, key: SigningKey | None, by: str, clock: Clock
) -> None:
    """Write the release, then have it served, unless operators have pinned another.

    Raises StoreUnavailable, CorruptObject; Superseded when somebody else moved the pointer since it was read: then
    what they chose is served, and that is fine.
    """
    if key is None:
        logger.warning("the release is not signed", extra={"cause": f"{SIGNING_KEY} is not set"})
    publish(store, release.name, release.files, release.facts, key)
    if held is not None and held.pointer.pinned:
        present = held.pointer
        logger.warning(
            f"pinned by {present.moved_by}: published, not served",
            extra={"release": release.name, "serving": present.release, "cause": present.reason},
        )
        return
    try:
        _point(store, held, release, by, clock)
    except Superseded as error:
        logger.warning("superseded", extra={"cause": str(error)})
        raise


def _point(store: ObjectStore, held: HeldPointer | None, release: Release, by: str, clock: Clock) -> None:
    """A night does not give way to a refresh of the release before, whose weights are a night older.

    What came between the night's reading and the refresh's is the next refresh's work.
    """
    try:
        point_to(store, held, release.name, release.version, by, clock)
    except Superseded:
        present = read_pointer(store)
        if REFRESHED_FROM in release.facts or not _is_refresh(store, held, present):
            raise
        point_to(store, present, release.name, release.version, by, clock)


def _is_refresh(store: ObjectStore, held: HeldPointer | None, present: HeldPointer | None) -> bool:
    """Whether nothing but one refresh was published since `held` was read."""
    if held is None or present is None or present.pointer.number != held.pointer.number + 1:
        return False
    published = present.pointer.how == "publish" and not present.pointer.pinned
    return published and REFRESHED_FROM in load_release_manifest(store, present.pointer.release).facts
