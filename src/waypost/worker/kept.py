"""The release a worker keeps on its own disk, so that it can start with S3 gone. Verified again whenever it is read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from waypost.errors import CorruptObject
from waypost.objects.bundle import MANIFEST, Manifest, check, parse_manifest


def save_kept(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Keep this release instead of the one before; a crash in between leaves the older one or none, never a mixture."""
    scratch, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (scratch, old):
        shutil.rmtree(leftover, ignore_errors=True)
    scratch.mkdir(parents=True)
    for path, body in files.items():
        (scratch / path).write_bytes(body)
    (scratch / MANIFEST).write_bytes(manifest.to_bytes())
    if folder.exists():
        folder.rename(old)
    scratch.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_kept(folder: Path) -> tuple[Manifest, dict[str, bytes]] | None:
    """The kept release, or None when there is none. Raises CorruptObject."""
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes(), str(folder))
        files = {entry.path: check(entry, (folder / entry.path).read_bytes(), str(folder)) for entry in manifest.files}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CorruptObject(f"the kept release in {folder} cannot be read: {error}") from error
    return manifest, files
