"""The release, or the part of it, that a process keeps on its own disk, so that it can start with S3 gone.

Verified again whenever it is read, its signature too: a disk is trusted no more than a bucket.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from waypost.errors import CorruptObject
from waypost.objects.bundle import MANIFEST, Manifest, check, parse_manifest
from waypost.release.signing import TrustedKeys

Kept = tuple[Manifest, dict[str, bytes]]


def save_kept(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Keep this release instead of the one before; a crash at any moment leaves one of the two, whole. Raises OSError.

    The one before goes aside first, where `load_kept` finds it should the new one not arrive.
    """
    scratch, aside = folder.with_name(folder.name + ".new"), _aside(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for path, body in {**files, MANIFEST: manifest.to_bytes()}.items():
        _write(scratch / path, body)
    _flush(scratch)
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    scratch.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def is_kept(folder: Path, release: str) -> bool:
    """Whether it says it is that release; whether it is whole, only `load_kept` knows."""
    try:
        return parse_manifest((folder / MANIFEST).read_bytes(), str(folder)).facts.get("release") == release
    except (OSError, CorruptObject):
        return False


def _everything(path: str) -> bool:
    return True


def load_kept(folder: Path, trusted: TrustedKeys, wanted: Callable[[str], bool] = _everything) -> Kept | None:
    """The kept release, or its wanted files; None when there is none.

    Raises CorruptObject, also for one that nobody trusted signed.
    """
    try:
        return _load(folder, trusted, wanted) or _load(_aside(folder), trusted, wanted)
    except CorruptObject:
        before = _load(_aside(folder), trusted, wanted)
        if before is None:
            raise
        return before


def _load(folder: Path, trusted: TrustedKeys, wanted: Callable[[str], bool]) -> Kept | None:
    if not folder.exists():
        return None
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes(), str(folder))
        trusted.verify(manifest)
        return manifest, {
            entry.path: check(entry, (folder / entry.path).read_bytes(), str(folder))
            for entry in manifest.files
            if wanted(entry.path)
        }
    except OSError as error:
        raise CorruptObject(f"the kept release in {folder} cannot be read: {error}") from error


def _aside(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _write(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """So that names outlive a power cut too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
