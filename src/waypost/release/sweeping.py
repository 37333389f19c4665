"""What goes from `releases/`: uploads that nobody finished, and refreshes that were served days ago.

A folder without a manifest is no release and never will be. It goes when it is called as exporters call releases, when
the pointer never named it, and when its newest object is a day old: an exporter that is uploading right now writes its
manifest within minutes. A refresh's release goes after two days, for there may be a hundred a day; what is served and
what was served last stays. Nights' releases, version claims, audit lines, the pointer and whatever else people keep
there are never touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable

from waypost.errors import CorruptObject, StoreUnavailable
from waypost.objects.bundle import MANIFEST
from waypost.objects.protocols import ObjectInfo, ObjectStore
from waypost.release.pointer import HeldPointer, read_pointer
from waypost.release.store import list_releases

logger = logging.getLogger(__name__)
ABANDONED_SECONDS = 24 * 3600.0  # far beyond any upload, and the clocks of this machine and of S3 may differ
REFRESH_SECONDS = 2 * 24 * 3600.0  # whoever looks into what yesterday's refreshes served still finds them
KEPT_SERVED = 10  # what rollbacks go back to, however old
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


def sweep_refreshes(store: ObjectStore, mark: str, now: float) -> list[str]:
    """Remove old releases of refreshes, which bear `mark` among their facts; their names. `now` is since the epoch.

    Raises StoreUnavailable; CorruptObject while the pointer is damaged, and nothing goes then.
    """
    published_at = {info.key: info.modified_at for info in store.list("releases/")}
    swept = []
    for release in list_releases(store):
        name = str(release.facts["release"])
        manifest = f"releases/{name}/{MANIFEST}"
        is_old = now - published_at.get(manifest, now) > REFRESH_SECONDS
        if mark in release.facts and is_old and not _may_be_served(read_pointer(store), name):
            store.delete([manifest])  # first: a release that is half gone is none
            store.delete([key for key in published_at if key.startswith(f"releases/{name}/") and key != manifest])
            swept.append(name)
    return swept


def _may_be_served(held: HeldPointer | None, release: str) -> bool:
    """Read anew for each: somebody may have gone back to it a moment ago."""
    return held is None or release in (held.pointer.release, *held.pointer.served[-KEPT_SERVED:])


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
    """Abandoned uploads, for an exporter, which must not fail by it."""
    _quietly("abandoned uploads", lambda: sweep_abandoned(store, now))


def sweep_refreshes_quietly(store: ObjectStore, mark: str, now: float) -> None:
    """Old refreshes, for a night, which must not fail by it either."""
    _quietly("old refreshes", lambda: sweep_refreshes(store, mark, now))


def _quietly(what: str, sweep: Callable[[], list[str]]) -> None:
    try:
        swept = sweep()
    except (StoreUnavailable, CorruptObject) as error:
        logger.warning(f"{what} not swept", extra={"cause": str(error)})
        return
    if swept:
        logger.info(f"{what} swept", extra={"releases": ",".join(swept)})
