"""The exporter, as a recipe: checkpoint -> tables -> ONNX and lookups -> preflight on a real Triton -> publish ->
pointer.

It believes nothing it has not run: the exported model must answer as the eager one does, and the Triton that loaded
it must answer as the exported one did. Until the pointer moves, nobody serves any of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from waypost.clock import SystemClock
from waypost.errors import NoRelease, Superseded
from waypost.exporter.building import BuiltRelease, build_release
from waypost.exporter.proving import require_target, scratch_triton
from waypost.exporter.publishing import REFRESHED_FROM, prepare, publish_and_point
from waypost.graph.store import load_tensors
from waypost.logs import stage
from waypost.model.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from waypost.model.signature import Device
from waypost.model.tokens import TokenizedGraph, load_tokenized
from waypost.objects.bundle import MANIFEST, describe
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.audit import whoami
from waypost.release.pointer import HeldPointer
from waypost.release.preflight import ScratchTriton, check_load, check_release, refuse
from waypost.release.repository import assemble
from waypost.release.signing import signing_key
from waypost.release.store import GOLDEN, LOOKUPS
from waypost.release.sweeping import sweep_refreshes_quietly
from waypost.release.versions import claim_version
from waypost.settings import ExporterSettings, Parts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepositoryWish:
    """Where to write the Triton model repository for a Triton that is not ours, and what that one runs on."""

    directory: Path
    device: Device


def run(
    settings: ExporterSettings,
    parts: Parts,
    checkpoint: str | None,
    wish: RepositoryWish | None,
    instead_of: str | None = None,
) -> str:
    """Publish a release of the checkpoint (the newest when None) and point to it; returns the release's id.

    With `instead_of`, only while that release is served: a refresh must not take a newer night's place.

    Raises PreflightFailed, CorruptObject, NoRelease, StoreUnavailable, TritonUnavailable, SettingsError, and Superseded
    when somebody else moved the pointer meanwhile; whichever it is, what was served before is still served.
    """
    require_target(settings.target)
    key = signing_key(settings.signing_key_file, parts)
    store, clock, by = S3ObjectStore(s3_client(parts.s3), parts.bucket), SystemClock(), whoami()
    held = prepare(store, clock)
    require_served(held, instead_of)
    name = read_checkpoint_name(store, checkpoint)
    trained = load_checkpoint(store, name)
    graph = read_graph_of(store, trained)
    with stage(logger, "model exported"):
        release = build_release(claim_version(store, held, by, clock), name, trained, graph, settings.target)
    with stage(logger, "preflight passed", target=settings.target):
        prove(release, settings.target, scratch_triton(settings, parts))
    if wish is not None:
        write_repository(release, wish)
    with stage(logger, "release published", release=release.name, model_version=release.version):
        publish_and_point(store, held, release, key, by, clock)
    if instead_of is None:  # once a night
        sweep_refreshes_quietly(store, REFRESHED_FROM, clock.now())
    return release.name


def require_served(held: HeldPointer | None, release: str | None) -> None:
    """Raises Superseded when another release is served than the one that was named."""
    present = held.pointer.release if held else None
    if release not in (None, present):
        raise Superseded(f"superseded: {present} is served, and no longer {release}, which was refreshed")


def read_checkpoint_name(store: ObjectStore, wanted: str | None) -> str:
    name = wanted or latest_checkpoint(store)
    if name is None:
        raise NoRelease("there is no checkpoint to export", "run `waypost trainer` first")
    return name


def read_graph_of(store: ObjectStore, checkpoint: Checkpoint) -> TokenizedGraph:
    """The very graph the checkpoint was trained on, in the very tokens: a model knows only its own tokenizer's."""
    trained = checkpoint.metadata
    fingerprint = str(trained["fingerprint"])
    tensors = load_tensors(store, fingerprint)
    graph = load_tokenized(store, fingerprint, tensors) if tensors else None
    if graph is None or graph.tokenizer_sha256 != trained["tokenizer_sha256"]:
        raise NoRelease("the tensors of this checkpoint are not in the store any more", "run `waypost trainer` again")
    return graph


def prove(release: BuiltRelease, target: str, triton: ScratchTriton) -> None:
    """Raises PreflightFailed with every finding."""
    manifest = describe(release.files, {"release": release.name, **release.facts})
    refuse(check_release({**release.files, MANIFEST: manifest.to_bytes()}, target))
    refuse(check_load(release.files, release.sizes, release.golden, triton))


def write_repository(release: BuiltRelease, wish: RepositoryWish) -> None:
    """The whole Triton model repository, for the onnxruntime backend, with what a preflight of it needs."""
    wish.directory.mkdir(parents=True, exist_ok=True)
    folder = assemble(
        wish.directory,
        release.version,
        release.files,
        release.sizes,
        "onnxruntime",
        wish.device,
        companions=(GOLDEN, LOOKUPS),
    )
    logger.info("model repository written", extra={"folder": str(folder)})
