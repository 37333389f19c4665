"""Releases in S3: immutable bundles under `releases/<id>/`, written once, manifest last, signed.

Which of them is served says the pointer (pointer.py); this module knows nothing of it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from waypost.errors import CorruptObject, NoRelease, UsageError
from waypost.objects.bundle import (
    CONCURRENT_TRANSFERS,
    MANIFEST,
    Manifest,
    load_files,
    load_manifest,
    save_bundle,
    unsealed,
)
from waypost.objects.protocols import ObjectStore
from waypost.release.signing import SigningKey, TrustedKeys

logger = logging.getLogger(__name__)
MODEL, LOOKUPS, TOKENIZER = "model.onnx", "lookups.safetensors", "tokenizer.json"
GOLDEN, POPULAR = "golden.json", "popular.json"
PLAIN_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,199}")  # what a release may be called: part of keys and paths


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


def scores_of(manifest: Manifest) -> dict[str, float]:
    """The quality figures that a release's manifest tells, by name; empty where it tells none."""
    told = manifest.facts.get("scores")
    if not isinstance(told, Mapping):
        return {}
    return {str(name): float(value) for name, value in told.items() if isinstance(value, int | float)}


def publish(
    store: ObjectStore,
    release: str,
    files: Mapping[str, bytes],
    facts: Mapping[str, Any],
    key: SigningKey | None = None,
) -> Manifest:
    """Write a release, manifest last, signed where there is a key. It is served only once the pointer says so.

    Raises StoreUnavailable; CorruptObject when it is not there as it was written.
    """
    where = f"releases/{release}"
    seal = key.sign if key else unsealed
    manifest = save_bundle(store, where, files, {"release": release, **facts}, seal)
    require_whole(store, manifest)  # it may have been swept, if this exporter was stopped for a day
    return manifest


def require_whole(store: ObjectStore, manifest: Manifest) -> None:
    """Raises CorruptObject when a file of the release is not there, or has another size. Nothing is fetched."""
    where = f"releases/{manifest.facts['release']}"
    there = {info.key: info.size for info in store.list(f"{where}/")}
    lacking = [entry.path for entry in manifest.files if there.get(f"{where}/{entry.path}") != entry.size]
    if lacking:
        raise CorruptObject(f"{where} lacks {', '.join(lacking)}, whole", "publish again with `waypost exporter`")


def load_release(
    store: ObjectStore,
    release: str,
    trusted: TrustedKeys,
    *,
    version: int | None = None,
    wanted: Callable[[str], bool] = lambda path: True,
) -> tuple[Manifest, dict[str, bytes]]:
    """A release, or its wanted files: the signature checked before anything else is fetched, then every file's digest.

    `version` is what the pointer says of it. Raises NoRelease, CorruptObject, StoreUnavailable.
    """
    manifest = load_release_manifest(store, release)
    trusted.verify(manifest)
    if version is not None and version_of(manifest) != version:
        raise CorruptObject(
            f"the pointer says version {version}, release {release} is version {version_of(manifest)}",
            "point again with `waypost release rollback ID`",
        )
    return manifest, load_files(store, f"releases/{release}", manifest, wanted)


def load_release_manifest(store: ObjectStore, release: str) -> Manifest:
    """Not verified. Raises NoRelease, CorruptObject, StoreUnavailable."""
    manifest = load_manifest(store, f"releases/{release}")
    if manifest is None:
        raise NoRelease(f"there is no release {release}", "see `waypost release list`")
    if manifest.facts.get("release") != release:
        raise CorruptObject(f"the manifest in releases/{release} is of release {manifest.facts.get('release')}")
    return manifest


def list_releases(store: ObjectStore) -> list[Manifest]:
    """The published releases by ascending version; half-published ones have no manifest and are left out."""
    names = [name for info in store.list("releases/") if (name := _named_by(info.key)) is not None]
    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:  # a year of nights in a second, for a rollback waits for it
        found = pool.map(lambda name: _read_listed(store, name), names)
        return sorted((manifest for manifest in found if manifest), key=version_of)


def _named_by(key: str) -> str | None:
    """The release whose manifest has this key; a manifest further down is a stray object."""
    name = key.removeprefix("releases/").removesuffix(f"/{MANIFEST}")
    return name if key == f"releases/{name}/{MANIFEST}" and PLAIN_NAME.fullmatch(name) else None


def _read_listed(store: ObjectStore, name: str) -> Manifest | None:
    """One damaged release must not hide the others, least of all from a rollback."""
    try:
        manifest = load_release_manifest(store, name)
        version_of(manifest)
    except NoRelease:  # gone since the listing
        return None
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
