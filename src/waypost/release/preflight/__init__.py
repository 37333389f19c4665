"""Preflight: would this release, or this Triton repository, load and answer rightly? Asked before anybody serves it.

First what can be read from the files and the node (no Triton needed), then a real load in a Triton under a name of its
own, with the golden questions. Each finding says what is wrong, where, why it would fail, and what to do;
docs/preflight.md lists the codes."""

from __future__ import annotations

from pathlib import Path

from waypost.objects.bundle import MANIFEST
from waypost.release.preflight.faults import FAULTS
from waypost.release.preflight.findings import Finding, finding, refuse, report_json
from waypost.release.preflight.loading import (
    ABANDONED_SECONDS,
    SCRATCH_PREFIX,
    ScratchTriton,
    check_load,
    check_load_as_it_is,
    sweep_scratch_models,
)
from waypost.release.preflight.model_repository import check_repository, read_backend, versions_of
from waypost.release.preflight.names import check_s3_address
from waypost.release.preflight.node import Node, TritonPython, find_triton_python, read_node
from waypost.release.preflight.release_folder import check_release, check_release_folder, read_release_folder
from waypost.release.preflight.targets import TARGETS, Target
from waypost.release.signing import NO_KEYS, TrustedKeys
from waypost.release.store import MODEL

__all__ = (
    "ABANDONED_SECONDS",
    "FAULTS",
    "SCRATCH_PREFIX",
    "TARGETS",
    "Finding",
    "Node",
    "ScratchTriton",
    "Target",
    "TritonPython",
    "check_directory",
    "check_load",
    "check_load_as_it_is",
    "check_release",
    "check_s3_address",
    "find_triton_python",
    "finding",
    "read_backend",
    "read_node",
    "read_release_folder",
    "refuse",
    "report_json",
    "sweep_scratch_models",
    "versions_of",
)

NOTHING_KNOWN = Node()


def check_directory(
    directory: Path, target: str, trusted: TrustedKeys = NO_KEYS, node: Node = NOTHING_KNOWN
) -> list[Finding]:
    """Findings about a release folder (one with manifest.json) or a Triton model repository, without any Triton."""
    if (directory / MANIFEST).is_file():
        return check_release_folder(directory, target, trusted)
    if (directory / MODEL).is_file():
        return [finding("manifest-unreadable", MANIFEST, "missing, which is written last: half published")]
    return check_repository(directory, target, node)
