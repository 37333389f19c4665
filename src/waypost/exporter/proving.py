"""Prove a release before it is published: the files by reading them, the model by loading it in a real Triton."""

from __future__ import annotations

from pathlib import Path

from waypost.errors import CorruptObject, SettingsError, UsageError
from waypost.model.signature import MODEL_NAME
from waypost.objects.bundle import MANIFEST
from waypost.release import golden, lookups
from waypost.release.preflight import (
    TARGETS,
    Finding,
    ScratchTriton,
    check_directory,
    check_load,
    read_release_folder,
)
from waypost.release.store import GOLDEN, LOOKUPS
from waypost.settings import ExporterSettings, Parts


def scratch_triton(settings: ExporterSettings, parts: Parts) -> ScratchTriton:
    """The Triton that may load a model under a scratch name: the embedded one, else the one that is set."""
    if settings.repository is not None:
        repository, backend, device = settings.repository, settings.triton_backend, settings.triton_device
    elif parts.triton_repository is not None:
        repository, backend, device = parts.triton_repository, "python", "cpu"
    else:
        raise SettingsError(
            "WAYPOST_EXPORTER_REPOSITORY is not set",
            "set it to the folder that the Triton of WAYPOST_TRITON_URL loads from",
        )
    return ScratchTriton(parts.triton_url, repository, backend, device, settings.preflight_timeout_seconds)


def preflight_directory(directory: Path, target: str, settings: ExporterSettings, parts: Parts | None) -> list[Finding]:
    """Findings about a release folder or a Triton model repository; loaded in a Triton too unless `parts` is None."""
    require_target(target)
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a folder", "name a release folder or a Triton model repository")
    findings = check_directory(directory, target)
    if findings or parts is None:
        return findings
    folder = directory if (directory / MANIFEST).is_file() else newest_version(directory)
    files = read_release_folder(folder)
    if GOLDEN not in files or LOOKUPS not in files:
        what = "without golden.json and lookups.safetensors its answers cannot be checked"
        return [
            Finding("golden-missing", folder.name, what, "a wrong answer looks like a right one", "assemble it again")
        ]
    try:
        sizes, asked = lookups.from_bytes(files[LOOKUPS]).sizes, golden.from_bytes(files[GOLDEN])
    except CorruptObject as error:
        return [Finding("companion-unreadable", folder.name, str(error), "it cannot be checked", "assemble it again")]
    return check_load(files, sizes, asked, scratch_triton(settings, parts))


def require_target(target: str) -> None:
    if target not in TARGETS:
        raise UsageError(f"no table for Triton {target}", f"name one of {', '.join(TARGETS)}")


def newest_version(repository: Path) -> Path:
    """The folder of the highest version in a Triton model repository that check_directory found nothing wrong with."""
    return max((entry for entry in (repository / MODEL_NAME).iterdir() if entry.is_dir()), key=lambda e: int(e.name))
