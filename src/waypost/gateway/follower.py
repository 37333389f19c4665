"""PopularFollower: keeps the popularity list of the current release at hand, by reading the pointer every few seconds.

A list is used only when it is what its signed manifest says. Whatever goes wrong (no S3, a release half there), the
list at hand stays. A gateway that has none yet takes the one it kept on its disk, and where the pointer is gone or
damaged, that of the newest whole release: a caller is better served by an old list than by none.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from waypost.errors import CorruptObject, NoRelease, StoreUnavailable
from waypost.gateway.popular import PopularList, parse_popular
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.metrics import GatewayMetrics
from waypost.objects.bundle import Manifest
from waypost.objects.protocols import ObjectStore
from waypost.release.kept import is_kept, load_kept, save_kept
from waypost.release.pointer import Pointer, read_pointer
from waypost.release.signing import TrustedKeys
from waypost.release.store import POPULAR, list_releases, load_release

# unknown: the store was never reached. never: it was, and no release was ever published. published: a list is at hand.
State = Literal["unknown", "never", "published"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A verified list, and what it was read from."""

    popular: PopularList
    manifest: Manifest
    files: Mapping[str, bytes]


class PopularFollower:
    """`kept`: a folder for the list at hand, for a start without S3; None keeps nothing."""

    def __init__(
        self, store: ObjectStore, trusted: TrustedKeys, metrics: GatewayMetrics, kept: Path | None = None
    ) -> None:
        self._store, self._trusted, self._metrics, self._kept = store, trusted, metrics, kept
        self._nothing_published = False
        self._etag: str | None = None
        self._trouble: str | None = None
        self._keeps = True  # the disk took what was kept last
        self.popular: PopularList | None = None

    @property
    def state(self) -> State:
        if self.popular is not None:
            return "published"
        return "never" if self._nothing_published else "unknown"

    @property
    def model_version(self) -> int | None:
        """Of the release whose list is at hand."""
        return self.popular.version if self.popular is not None else None

    @property
    def key_types(self) -> KeyTypes:
        """Of the app's ids; integers as long as no release says otherwise."""
        return self.popular.keys if self.popular is not None else INTEGER_KEYS

    async def follow(self, seconds: float) -> None:
        """Look now and then every so many seconds, until cancelled."""
        await asyncio.to_thread(self.remember)
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(seconds)

    def remember(self) -> None:
        """Take the list that was kept, if there is one that is whole; never raises."""
        if self._kept is None:
            return
        try:
            found = load_kept(self._kept, self._trusted, _is_popular)
            if found is not None:
                self._hold(_opened(*found))
        except CorruptObject as error:
            logger.warning("the kept popularity list is not used", extra={"cause": str(error)})
        except Exception:
            logger.exception("the kept popularity list was not read")

    def look(self) -> None:
        """One look at the pointer; never raises."""
        try:
            changed = self._load_changed()
            self._metrics.pointer_reads.labels("changed" if changed else "same").inc()
            self._trouble = None
        except (StoreUnavailable, CorruptObject, NoRelease) as error:
            self._note(type(error).__name__, str(error))
        except Exception as error:
            logger.exception("the release pointer was not followed")
            self._trouble = type(error).__name__

    def _load_changed(self) -> bool:
        try:
            held = read_pointer(self._store)
            if held is not None:
                return held.etag != self._etag and self._take(held.pointer, held.etag)
        except (CorruptObject, NoRelease):
            self._fall_back()
            raise
        self._fall_back()
        return False

    def _take(self, pointer: Pointer, etag: str) -> bool:
        self._nothing_published = False
        found = load_popular(self._store, pointer.release, self._trusted, pointer.version)
        self._hold(found)
        self._etag = etag
        self._keep(found)
        return True

    def _fall_back(self) -> None:
        """Without a pointer to follow: what is at hand, else the newest whole release's list, else nothing is there."""
        if self.popular is not None:
            return
        releases = list_releases(self._store)
        self._nothing_published = not releases
        for manifest in reversed(releases):
            release = str(manifest.facts["release"])
            try:
                self._hold(load_popular(self._store, release, self._trusted))
            except (CorruptObject, NoRelease) as error:
                logger.warning("a release was passed over", extra={"release": release, "cause": str(error)})
                continue
            logger.warning("no pointer to follow, the newest release's list is held", extra={"release": release})
            return

    def _hold(self, found: Found) -> None:
        self.popular = popular = found.popular
        self._metrics.holds_release(popular.version, _made_at(found.manifest))
        logger.info("popularity list held", extra={"model_version": popular.version, "posts": len(popular.posts)})

    def _keep(self, found: Found) -> None:
        """On disk, where there is one to write to; nothing depends on it."""
        if self._kept is None or is_kept(self._kept, str(found.manifest.facts["release"])):
            return
        try:
            save_kept(self._kept, found.manifest, found.files)
            self._keeps = True
        except OSError as error:
            if self._keeps:  # once, not at each release
                logger.warning("the popularity list is not kept on disk", extra={"cause": str(error)})
            self._keeps = False

    def _note(self, trouble: str, cause: str) -> None:
        """Once for each new trouble, not once for each look."""
        self._metrics.pointer_reads.labels("failed").inc()
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("the release pointer was not followed", extra={"cause": cause})


def _is_popular(path: str) -> bool:
    return path == POPULAR


def load_popular(store: ObjectStore, release: str, trusted: TrustedKeys, version: int | None = None) -> Found:
    """The verified list of a release; `version` is what the pointer says of it.

    Raises StoreUnavailable, CorruptObject, NoRelease.
    """
    return _opened(*load_release(store, release, trusted, version=version, wanted=_is_popular))


def _opened(manifest: Manifest, files: Mapping[str, bytes]) -> Found:
    manifest.file(POPULAR)
    popular = parse_popular(files[POPULAR])
    if popular.version != manifest.facts.get("version"):
        raise CorruptObject(
            f"{POPULAR} of release {manifest.facts.get('release')} says version {popular.version}", "roll back"
        )
    return Found(popular, manifest, files)


def _made_at(manifest: Manifest) -> float:
    """Seconds since the epoch; NaN where the manifest does not say."""
    try:
        return datetime.fromisoformat(str(manifest.facts.get("made_at"))).timestamp()
    except ValueError:
        return math.nan
