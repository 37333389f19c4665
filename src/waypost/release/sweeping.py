"""Uploads that nobody finished: a folder `releases/<id>/` without a manifest is no release and never will be.

Only such a folder goes, and only when its newest object is a day old: an exporter that is uploading right now writes
its manifest within minutes. Whole releases, version claims, audit lines and the pointer are never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from waypost.errors import StoreUnavailable
from waypost.objects.bundle import MANIFEST
from waypost.objects.protocols import ObjectInfo, ObjectStore

logger = logging.getLogger(__name__)
ABANDONED_SECONDS = 24 * 3600.0  # far beyond any upload, and the clocks of this machine and of S3 may differ
NO_RELEASES = {"versions", "audit"}


def sweep_abandoned(store: ObjectStore, now: float) -> list[str]:
    """Remove abandoned uploads; their names. `now` in seconds since the epoch. Raises StoreUnavailable."""
    swept = []
    for name, keys in abandoned(store.list("releases/"), now).items():
        if store.get(f"releases/{name}/{MANIFEST}") is None:  # since the listing
            store.delete(keys)
            swept.append(name)
    return swept


def abandoned(listed: Iterable[ObjectInfo], now: float) -> dict[str, list[str]]:
    """Name of the upload -> its keys."""
    folders: dict[str, list[ObjectInfo]] = {}
    for info in listed:
        _, _, inside = info.key.partition("/")
        name, slash, path = inside.partition("/")
        if slash and path and name not in NO_RELEASES:
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
    except StoreUnavailable as error:
        logger.warning("abandoned uploads not swept", extra={"cause": str(error)})
        return
    if swept:
        logger.info("abandoned uploads swept", extra={"releases": ",".join(swept)})
