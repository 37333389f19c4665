"""PopularFollower: keeps the popularity list of the current release at hand, by reading the pointer every few seconds.

A list is used only when it is what its manifest says. Whatever goes wrong (no S3, a release half there), the list at
hand stays.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from waypost.errors import CorruptObject, StoreUnavailable
from waypost.gateway.popular import PopularList, parse_popular
from waypost.metrics import GatewayMetrics
from waypost.objects.bundle import load_files, load_manifest
from waypost.objects.protocols import ObjectStore
from waypost.release.key_types import INTEGER_KEYS, KeyTypes
from waypost.release.store import POPULAR, read_pointer

# unknown: the store was never reached. never: it was, and no release was ever published. published: a list is at hand.
State = Literal["unknown", "never", "published"]
logger = logging.getLogger(__name__)


class PopularFollower:
    def __init__(self, store: ObjectStore, metrics: GatewayMetrics) -> None:
        self._store, self._metrics = store, metrics
        self._reached = False
        self._etag: str | None = None
        self._trouble: str | None = None
        self.popular: PopularList | None = None

    @property
    def state(self) -> State:
        if self.popular is not None:
            return "published"
        return "never" if self._reached else "unknown"

    @property
    def key_types(self) -> KeyTypes:
        """Of the app's ids; integers as long as no release says otherwise."""
        return self.popular.keys if self.popular is not None else INTEGER_KEYS

    async def follow(self, seconds: float) -> None:
        """Look now and then every so many seconds, until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(seconds)

    def look(self) -> None:
        """One look at the pointer; never raises."""
        try:
            changed = self._load_changed()
            self._metrics.pointer_reads.labels("changed" if changed else "same").inc()
            self._trouble = None
        except (StoreUnavailable, CorruptObject) as error:
            self._note(type(error).__name__, str(error))
        except Exception as error:
            logger.exception("the release pointer was not followed")
            self._trouble = type(error).__name__

    def _load_changed(self) -> bool:
        held = read_pointer(self._store)
        if held is None:
            self._reached = True
            return False
        self._reached = False  # something was published, even if it cannot be read
        if held.etag == self._etag:
            return False
        self.popular = load_popular(self._store, held.pointer.release)
        self._etag = held.etag
        self._metrics.holds_release(self.popular.version)
        logger.info(
            "popularity list held", extra={"model_version": self.popular.version, "posts": len(self.popular.posts)}
        )
        return True

    def _note(self, trouble: str, cause: str) -> None:
        """Once for each new trouble, not once for each look."""
        self._metrics.pointer_reads.labels("failed").inc()
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("the release pointer was not followed", extra={"cause": cause})


def load_popular(store: ObjectStore, release: str) -> PopularList:
    """The verified popularity list of one release. Raises StoreUnavailable, CorruptObject."""
    prefix = f"releases/{release}"
    manifest = load_manifest(store, prefix)
    if manifest is None:
        raise CorruptObject(f"{prefix} has no manifest", "publish the release again or roll back")
    manifest.file(POPULAR)
    return parse_popular(load_files(store, prefix, manifest, lambda path: path == POPULAR)[POPULAR])
