"""Uploads that nobody finished: a folder `releases/<id>/` without a manifest is no release and never will be.

Only such a folder goes, only when it is called as exporters call releases, when the pointer never named it, and when
its newest object is a day old: an exporter that is uploading right now writes its manifest within minutes. Whole
releases, version claims, audit lines, the pointer and whatever else people keep there are never touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from waypost.errors import CorruptObject, StoreUnavailable
from waypost.objects.bundle import MANIFEST
from waypost.objects.protocols import ObjectInfo, ObjectStore
from waypost.release.pointer import read_pointer

logger = logging.getLogger(__name__)
ABANDONED_SECONDS = 24 * 3600.0  # far beyond any upload, and the clocks of this machine and of S3 may differ
NO_RELEASES = {"versions", "audit"}  # folders of our own beside the releases
_RELEASE = re.compile(r"[0-9]{6,}-.+")  # as store.release_name makes them


def sweep_abandoned(store: ObjectStore, now: float) -> list[str]:
    """Remove abandoned uploads; their names. `now` in seconds since the epoch. Raises StoreUnavailable.

    Nothing goes while the pointer is damaged: nobody can say then what it named. CorruptObject.
    """
    swept: list[str] = []
    found = abandoned(store.list("releases/"), now)
    named = _named(store) if found else frozenset()
    for name, keys in found.items():
        if name not in named and store.get(f"releases/{name}/{MANIFEST}") is None:  # since the listing
            store.delete(keys)
            swept.append(name)
    return swept


def _named(store: ObjectStore) -> frozenset[str]:
    """What the pointer names or named: one of these without its manifest was damaged, and its files may mend it."""
    held = read_pointer(store)
    return frozenset({held.pointer.release, *held.pointer.served} if held else ())


def abandoned(listed: Iterable[ObjectInfo], now: float) -> dict[str, list[str]]:
    """Name of the upload -> its keys."""
    folders: dict[str, list[ObjectInfo]] = {}
    for info in listed:
        _, _, inside = info.key.partition("/")
        name, slash, path = inside.partition("/")
        if slash and path and name not in NO_RELEASES and _RELEASE.fullmatch(name):
            folders.setdefault(name, []).append(info)
    return {
        name: [info.key for info in infos]
        for name, infos in folders.items()
        if all(info.key != f"releases/{name}/{MANIFEST}" for info in infos)
        and now - max(info.modified_at for info in infos) > ABANDONED_SECONDS
    }


def sweep_quietly(store: ObjectStore, now: float) -> None:
    """The same for a night, which must not fail by it."""
    try:
        swept = sweep_abandoned(store, now)
    except (StoreUnavailable, CorruptObject) as error:
        logger.warning("abandoned uploads not swept", extra={"cause": str(error)})
        return
    if swept:
        logger.info("abandoned uploads swept", extra={"releases": ",".join(swept)})
