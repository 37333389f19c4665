"""Where a pod may have a release from: the store, and its own disk, which outlives everything else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from waypost.errors import CorruptObject, PipelineError, RetryableError
from waypost.objects.bundle import Manifest
from waypost.objects.protocols import ObjectStore
from waypost.release.kept import is_kept, load_kept, save_kept
from waypost.release.pointer import HeldPointer, Pointer, read_pointer
from waypost.release.signing import TrustedKeys
from waypost.release.store import load_release, version_of

logger = logging.getLogger(__name__)
OLDER_RELEASES = 3  # are tried by a pod that starts with nothing and cannot have the one pointed to
DISK = "disk"  # as the place where a release was found
Loaded = tuple[Manifest, dict[str, bytes]]


class ReleaseSources:
    """Whatever comes from here was verified, signature and digests, whether it lay in the store or on this disk."""

    def __init__(self, store: ObjectStore, trusted: TrustedKeys, kept: Path) -> None:
        self.store = store
        self._trusted, self._kept = trusted, kept

    def pointer(self) -> HeldPointer | None:
        """Raises StoreUnavailable, CorruptObject."""
        return read_pointer(self.store)

    def pointed_to(self, pointer: Pointer) -> Loaded:
        """The release that the pointer names. Raises NoRelease, CorruptObject, StoreUnavailable."""
        manifest, files = self.named(pointer.release)
        if version_of(manifest) != pointer.version:
            raise CorruptObject(
                f"the pointer says version {pointer.version}, the release {version_of(manifest)}",
                "publish again or roll back",
            )
        return manifest, files

    def named(self, release: str) -> Loaded:
        """From this disk, where it is the one that is kept; else from the store."""
        if is_kept(self._kept, release):
            kept = self.kept()
            if kept is not None and kept[0].facts.get("release") == release:  # it may be the one set aside
                return kept
        return load_release(self.store, release, self._trusted)

    def others(self) -> Iterator[tuple[str, Loaded]]:
        """Releases that were served before, the one on this disk first; each is fetched when it is asked for."""
        kept = self.kept()
        if kept is not None:
            yield DISK, kept
        for release in self._older():
            try:
                yield release, load_release(self.store, release, self._trusted)
            except (PipelineError, RetryableError) as error:
                logger.error("older release refused", extra={"release": release, "cause": str(error)})

    def keep(self, manifest: Manifest, files: Mapping[str, bytes]) -> None:
        """On this disk, instead of the one before. Raises OSError."""
        save_kept(self._kept, manifest, files)

    def kept(self) -> Loaded | None:
        """The release on this disk, where there is a whole one."""
        try:
            return load_kept(self._kept, self._trusted)
        except CorruptObject as error:
            logger.error("kept release refused", extra={"cause": str(error)})
            return None

    def _older(self) -> list[str]:
        try:
            held = self.pointer()
        except (PipelineError, RetryableError):
            return []
        served = [name for name in held.pointer.served if name != held.pointer.release] if held else []
        return served[: -OLDER_RELEASES - 1 : -1]
