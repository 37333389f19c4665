"""What the store says of the served release, the one before it, and the last night; never read for a request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from waypost.errors import CorruptObject, NoRelease, StoreUnavailable
from waypost.objects.bundle import MANIFEST, Manifest
from waypost.objects.protocols import ObjectStore
from waypost.release.pointer import Pointer, read_pointer
from waypost.release.store import load_release_manifest, version_of

logger = logging.getLogger(__name__)
REFRESHED_FROM = "refreshed_from"  # a fact of releases that no night trained
_FACTS = (
    "made_at",
    "scores",
    "gate",
    "gate_override",
    "sizes",
    "checkpoint",
    "code_version",
    "git_commit",
    REFRESHED_FROM,
)


@dataclass(frozen=True)
class Releases:
    """As the page shows them; None where there is none, or nobody could read it."""

    served: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    night: dict[str, Any] | None = None  # the release of the newest night, served or not
    trouble: str | None = None


@dataclass
class ReleaseReader:
    store: ObjectStore
    _manifests: dict[str, dict[str, Any]] = field(default_factory=dict)  # a release never changes

    def read(self) -> Releases:
        """Never raises."""
        try:
            return self._read()
        except (StoreUnavailable, CorruptObject, NoRelease) as error:
            return Releases(trouble=str(error))
        except Exception as error:
            logger.exception("the releases were not read")
            return Releases(trouble=type(error).__name__)

    def _read(self) -> Releases:
        held = read_pointer(self.store)
        if held is None:
            return Releases()
        pointer = held.pointer
        served = {**self._facts(pointer.release), **_moved(pointer)}
        before = self._facts_if_there(pointer.came_from)
        return Releases(served, before, self._newest_night())

    def _newest_night(self) -> dict[str, Any] | None:
        """Names begin with the version, so the last name is the newest release; a refresh is no night."""
        names = sorted(name for info in self.store.list("releases/") if (name := _release_of(info.key)) is not None)
        for name in reversed(names):
            facts = self._facts_if_there(name)
            if facts is not None and REFRESHED_FROM not in facts:
                return facts
        return None

    def _facts_if_there(self, release: str | None) -> dict[str, Any] | None:
        try:
            return self._facts(release) if release else None
        except (CorruptObject, NoRelease):  # swept, or damaged: the page has other things to show
            return None

    def _facts(self, release: str) -> dict[str, Any]:
        found = self._manifests.get(release)
        if found is None:
            found = self._manifests[release] = _shown(load_release_manifest(self.store, release))
        return found


def _release_of(key: str) -> str | None:
    """The release whose manifest has this key."""
    _, _, rest = key.partition("/")
    name, _, file = rest.partition("/")
    return name if file == MANIFEST else None


def _shown(manifest: Manifest) -> dict[str, Any]:
    facts = {name: manifest.facts[name] for name in _FACTS if name in manifest.facts}
    return {"release": str(manifest.facts["release"]), "version": version_of(manifest), **facts}


def _moved(pointer: Pointer) -> Mapping[str, Any]:
    """Since when, how and why it is served."""
    told = asdict(pointer)
    return {name: told[name] for name in ("moved_at", "moved_by", "how", "reason", "pinned")}
