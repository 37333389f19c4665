"""PopularFollower: keeps the popularity list of the current release at hand, by reading the pointer every few seconds.

A list is used only when it is what its signed manifest says. Whatever goes wrong (no S3, a release half there), the
list at hand stays.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from waypost.errors import CorruptObject, NoRelease, StoreUnavailable
from waypost.gateway.popular import PopularList, parse_popular
from waypost.metrics import GatewayMetrics
from waypost.objects.protocols import ObjectStore
from waypost.release.key_types import INTEGER_KEYS, KeyTypes
from waypost.release.pointer import Pointer, read_pointer
from waypost.release.signing import TrustedKeys
from waypost.release.store import POPULAR, load_release

# unknown: the store was never reached. never: it was, and no release was ever published. published: a list is at hand.
State = Literal["unknown", "never", "published"]
logger = logging.getLogger(__name__)


class PopularFollower:
    def __init__(self, store: ObjectStore, trusted: TrustedKeys, metrics: GatewayMetrics) -> None:
        self._store, self._trusted, self._metrics = store, trusted, metrics
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
        except (StoreUnavailable, CorruptObject, NoRelease) as error:
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
        self.popular = load_popular(self._store, held.pointer, self._trusted)
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


def load_popular(store: ObjectStore, pointer: Pointer, trusted: TrustedKeys) -> PopularList:
    """The verified popularity list of the release pointed to. Raises StoreUnavailable, CorruptObject, NoRelease."""
    release, version = pointer.release, pointer.version
    manifest, files = load_release(store, release, trusted, version=version, wanted=lambda path: path == POPULAR)
    manifest.file(POPULAR)
    popular = parse_popular(files[POPULAR])
    if popular.version != version:
        raise CorruptObject(f"{POPULAR} of release {release} says version {popular.version}", "roll back")
    return popular
