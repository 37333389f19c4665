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
from waypost.release.store import publish
from waypost.release.sweeping import sweep_quietly

logger = logging.getLogger(__name__)


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
        point_to(store, held, release.name, release.version, by, clock)
    except Superseded as error:
        logger.warning("superseded", extra={"cause": str(error)})
        raise
