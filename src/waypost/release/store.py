"""Releases in S3: immutable bundles under `releases/<id>/`, and the one pointer that says which of them is served.

The pointer is moved by conditional write only. Of two exporters exactly one moves it; the other learns that it was
superseded. Rolling back is moving the pointer to an older release.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from waypost.clock import Clock
from waypost.errors import CorruptObject, NoRelease, Superseded, UsageError
from waypost.objects.bundle import MANIFEST, Manifest, load_files, load_manifest, save_bundle
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
POINTER_KEY = "releases/current.json"
KEPT_HISTORY = 100  # served releases that the pointer remembers
_NAMED_VERSION = re.compile(r"\d+(?=-)")
MODEL, LOOKUPS, TOKENIZER = "model.onnx", "lookups.safetensors", "tokenizer.json"
GOLDEN, POPULAR = "golden.json", "popular.json"


@dataclass(frozen=True)
class Pointer:
    """Which release is served, since when and why."""

    release: str
    version: int
    moved_at: str  # ISO 8601, UTC
    reason: str
    highest_version: int  # ever served: a rolled-back version number is never given again
    number: int  # of this move; one more each time
    served: tuple[str, ...]  # releases that were pointed to, oldest first: what a rollback may go back to


@dataclass(frozen=True)
class HeldPointer:
    """A pointer as read, with what is needed to move exactly that one."""

    pointer: Pointer
    etag: str


def read_pointer(store: ObjectStore) -> HeldPointer | None:
    """The pointer, or None when no release was ever published. Raises CorruptObject, StoreUnavailable."""
    found = store.get(POINTER_KEY)
    return HeldPointer(parse_pointer(found.body), found.etag) if found else None


def parse_pointer(body: bytes) -> Pointer:
    try:
        content = json.loads(body)
        return Pointer(
            release=str(content["release"]),
            version=int(content["version"]),
            moved_at=str(content["moved_at"]),
            reason=str(content["reason"]),
            highest_version=int(content["highest_version"]),
            number=int(content["number"]),
            served=tuple(str(name) for name in content.get("served", [content["release"]])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptObject(
            f"{POINTER_KEY} is not a pointer: {type(error).__name__} {error}",
            "delete that object; the next night points again",
        ) from None


def next_version(store: ObjectStore, held: HeldPointer | None) -> int:
    """One more than any version that was served, or that a superseded or killed exporter left in the store."""
    names = {info.key.split("/")[1] for info in store.list("releases/")}
    left = [int(found.group()) for name in names if (found := _NAMED_VERSION.match(name))]
    return max([held.pointer.highest_version if held else 0, *left]) + 1


def release_name(version: int, fingerprint: str, salt: str) -> str:
    """Version first, so that names sort by age and say their version."""
    return f"{version:06d}-{fingerprint[:8]}-{salt}"


def version_of(manifest: Manifest) -> int:
    """Raises CorruptObject for a manifest that names no version."""
    version = manifest.facts.get("version")
    if not isinstance(version, int) or version < 1:
        raise CorruptObject(
            f"the manifest of release {manifest.facts.get('release')} names no version", "publish it again"
        )
    return version


def publish(store: ObjectStore, release: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> Manifest:
    """Write a release, manifest last. It is served only once the pointer says so."""
    return save_bundle(store, f"releases/{release}", files, {"release": release, **facts})


def move_pointer(
    store: ObjectStore, held: HeldPointer | None, release: str, version: int, reason: str, clock: Clock
) -> Pointer:
    """Point to `release`, provided that nobody moved the pointer since `held` was read; else Superseded."""
    moved = Pointer(
        release=release,
        version=version,
        moved_at=datetime.fromtimestamp(clock.now(), UTC).isoformat(timespec="milliseconds"),
        reason=reason,
        highest_version=max(version, held.pointer.highest_version if held else 0),
        number=held.pointer.number + 1 if held else 1,
        served=(*(name for name in held.pointer.served if name != release), release)[-KEPT_HISTORY:]
        if held
        else (release,),
    )
    body = json.dumps(asdict(moved), indent=2).encode()
    won = store.put_if(POINTER_KEY, body, held.etag) if held else store.put_new(POINTER_KEY, body)
    if not won:
        raise Superseded(f"superseded: the pointer was moved by somebody else before {release}")
    return moved


def load_release(store: ObjectStore, release: str) -> tuple[Manifest, dict[str, bytes]]:
    """A whole release, every file verified. Raises NoRelease, CorruptObject, StoreUnavailable."""
    manifest = load_manifest(store, f"releases/{release}")
    if manifest is None:
        raise NoRelease(f"there is no release {release}", "see `waypost release list`")
    if manifest.facts.get("release") != release:
        raise CorruptObject(f"the manifest in releases/{release} is of release {manifest.facts.get('release')}")
    return manifest, load_files(store, f"releases/{release}", manifest)


def list_releases(store: ObjectStore) -> list[Manifest]:
    """The published releases by ascending version; half-published ones have no manifest and are left out."""
    names = [info.key.split("/")[1] for info in store.list("releases/") if info.key.endswith(f"/{MANIFEST}")]
    found = [manifest for name in names if (manifest := _read_listed(store, name))]
    return sorted(found, key=version_of)


def _read_listed(store: ObjectStore, name: str) -> Manifest | None:
    """One damaged release must not hide the others, least of all from a rollback."""
    try:
        manifest = load_manifest(store, f"releases/{name}")
        if manifest is not None:
            version_of(manifest)
    except CorruptObject as error:
        logger.warning("damaged release left out", extra={"release": name, "cause": str(error)})
        return None
    return manifest


def find_release(releases: list[Manifest], wanted: str, served: Sequence[str]) -> Manifest:
    """By id or version number; of two with one number, the one that was served. Raises NoRelease, UsageError."""
    named = [m for m in releases if wanted in (m.facts.get("release"), str(version_of(m)))]
    if len(named) > 1:
        named = [m for m in named if m.facts.get("release") in served]
    if len(named) > 1:
        raise UsageError(
            f"version {wanted} is of {' and '.join(str(m.facts['release']) for m in named)}", "name the id"
        )
    if not named:
        raise NoRelease(f"there is no release {wanted}", "see `waypost release list`")
    return named[0]


def roll_back(store: ObjectStore, release: str | None, reason: str, clock: Clock) -> Pointer:
    """Move the pointer to `release` (id or version), or to the last one served that is older than the present one.

    Raises NoRelease, Superseded.
    """
    held = read_pointer(store)
    if held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    releases = list_releases(store)
    target = find_release(releases, release, held.pointer.served) if release else _served_before(releases, held.pointer)
    return move_pointer(store, held, str(target.facts["release"]), version_of(target), reason, clock)


def _served_before(releases: list[Manifest], current: Pointer) -> Manifest:
    older = [m for m in releases if m.facts.get("release") in current.served and version_of(m) < current.version]
    if not older:
        raise NoRelease(f"no release older than {current.release} was ever served", "see `waypost release list`")
    return older[-1]
