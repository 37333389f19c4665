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
    Node,
    ScratchTriton,
    check_directory,
    check_load,
    check_load_as_it_is,
    finding,
    read_backend,
    read_release_folder,
    versions_of,
)
from waypost.release.signing import NO_KEYS, TrustedKeys
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
    limits = settings.preflight_timeout_seconds, settings.golden_seconds
    return ScratchTriton(parts.triton_url, repository, backend, device, *limits)


def preflight_directory(
    directory: Path,
    target: str,
    settings: ExporterSettings,
    parts: Parts | None,
    trusted: TrustedKeys = NO_KEYS,
    node: Node | None = None,
) -> list[Finding]:
    """Findings about a release folder or a Triton model repository; loaded in a Triton too unless `parts` is None."""
    require_target(target)
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a folder", "name a release folder or a Triton model repository")
    findings = check_directory(directory, target, trusted, node or Node())
    if findings or parts is None:
        return findings
    is_release, model = (directory / MANIFEST).is_file(), directory / MODEL_NAME
    folder = directory if is_release else versions_of(model)[-1]
    files = read_release_folder(folder)
    if GOLDEN not in files or LOOKUPS not in files:
        return [finding("golden-missing", folder.name, f"no {GOLDEN} or no {LOOKUPS}")]
    try:
        sizes, asked = lookups.from_bytes(files[LOOKUPS]).sizes, golden.from_bytes(files[GOLDEN])
    except CorruptObject as error:  # changed since they were checked
        return [finding("digest-mismatch", folder.name, error.cause)]
    triton = scratch_triton(settings, parts)
    if not is_release and read_backend(model) == triton.backend:
        return check_load_as_it_is(model, int(folder.name), asked, triton)
    return check_load(files, sizes, asked, triton)


def require_target(target: str) -> None:
    if target not in TARGETS:
        raise UsageError(f"no table for Triton {target}", f"name one of {', '.join(TARGETS)}")
