"""The exporter, as a recipe: checkpoint -> tables -> ONNX and lookups -> preflight on a real Triton -> publish ->
pointer.

It believes nothing it has not run: the exported model must answer as the eager one does, and the Triton that loaded
it must answer as the exported one did. Until the pointer moves, nobody serves any of it.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from waypost import __version__
from waypost.clock import SystemClock
from waypost.errors import NoRelease, PipelineError, Superseded
from waypost.exporter.contents import ask_golden, build_lookups, golden_rows
from waypost.exporter.onnx_graph import IR_VERSION, OPSET, to_onnx
from waypost.exporter.proving import require_target, scratch_triton
from waypost.exporter.reference import reference_scores
from waypost.graph.store import load_tensors
from waypost.logs import stage
from waypost.model.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from waypost.model.kinds import taught
from waypost.model.serving import ServingTables
from waypost.model.signature import FORBIDDEN_SCORE, SIGNATURE_VERSION, Device, Row, Sizes
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import TokenizedGraph, load_tokenized
from waypost.objects.bundle import MANIFEST, describe
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release import golden, lookups
from waypost.release.golden import ABSOLUTE_TOLERANCE, Golden
from waypost.release.onnx_runner import load_onnx
from waypost.release.popular import to_popular
from waypost.release.preflight import ScratchTriton, check_load, check_release, refuse
from waypost.release.repository import assemble
from waypost.release.store import (
    GOLDEN,
    LOOKUPS,
    MODEL,
    POPULAR,
    TOKENIZER,
    HeldPointer,
    move_pointer,
    next_version,
    publish,
    read_pointer,
    release_name,
)
from waypost.settings import ExporterSettings, Parts

logger = logging.getLogger(__name__)
SHOWN_SCORES = ("recall", "ndcg", "popularity_recall", "popularity_ndcg")  # of the holdout, beside each release
EAGER_TOLERANCE = 1e-4  # relative; the exported model and the eager one sum fp32 in different orders


@dataclass(frozen=True)
class RepositoryWish:
    """Where to write the Triton model repository for a Triton that is not ours, and what that one runs on."""

    directory: Path
    device: Device


@dataclass(frozen=True)
class Release:
    name: str
    version: int
    files: dict[str, bytes]
    facts: dict[str, Any]
    sizes: Sizes
    golden: Golden


def run(settings: ExporterSettings, parts: Parts, checkpoint: str | None, wish: RepositoryWish | None) -> str:
    """Publish a release of the checkpoint (the newest when None) and point to it; returns the release's id.

    Raises PreflightFailed, CorruptObject, NoRelease, StoreUnavailable, TritonUnavailable; whichever it is, what was
    served before is still served.
    """
    require_target(settings.target)
    store = S3ObjectStore(s3_client(parts.s3), parts.bucket)
    held = read_pointer(store)
    name = read_checkpoint_name(store, checkpoint)
    trained = load_checkpoint(store, name)
    graph = read_graph_of(store, trained)
    with stage(logger, "model exported"):
        release = build_release(next_version(store, held), name, trained, graph, settings.target)
    with stage(logger, "preflight passed", target=settings.target):
        prove(release, settings.target, scratch_triton(settings, parts))
    if wish is not None:
        write_repository(release, wish)
    with stage(logger, "release published", release=release.name, model_version=release.version):
        publish(store, release.name, release.files, release.facts)
        point_to(store, held, release)
    return release.name


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


def build_release(version: int, run_name: str, checkpoint: Checkpoint, graph: TokenizedGraph, target: str) -> Release:
    """Every file of the release, the exported model checked against the eager one."""
    tables = to_serving_tables(checkpoint.model, graph.tensors, taught(graph.tensors))
    model = to_onnx(tables)
    found = build_lookups(graph.tensors, tables)
    rows = golden_rows(found)
    asked = ask_golden(rows, found.sizes, load_onnx(model))
    require_equal(tables, rows, asked)
    files = {
        MODEL: model,
        LOOKUPS: lookups.to_bytes(found),
        TOKENIZER: graph.tokenizer.encode(),
        GOLDEN: golden.to_bytes(asked),
        POPULAR: to_popular(found, version),
    }
    facts = {"version": version, "checkpoint": run_name, **_facts(checkpoint, graph, target)}
    name = release_name(version, facts["fingerprint"], secrets.token_hex(4))
    return Release(name, version, files, facts, found.sizes, asked)


def require_equal(tables: ServingTables, rows: list[Row], asked: Golden) -> None:
    """Raises PipelineError when the exported model's scores are not the eager model's."""
    for row, posts, scores in zip(rows, asked.post_index, asked.score, strict=True):
        real = scores > FORBIDDEN_SCORE / 2
        eager = reference_scores(tables, row)[posts[real]]
        tolerance = EAGER_TOLERANCE * float(np.abs(eager).max(initial=0.0)) + ABSOLUTE_TOLERANCE
        if not np.allclose(scores[real], eager, rtol=0, atol=tolerance):
            raise PipelineError(
                "the exported model does not answer as the eager one", "report this: it is a fault of ours"
            )


def prove(release: Release, target: str, triton: ScratchTriton) -> None:
    """Raises PreflightFailed with every finding."""
    manifest = describe(release.files, {"release": release.name, **release.facts})
    refuse(check_release({**release.files, MANIFEST: manifest.to_bytes()}, target))
    refuse(check_load(release.files, release.sizes, release.golden, triton))


def write_repository(release: Release, wish: RepositoryWish) -> None:
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


def point_to(store: ObjectStore, held: HeldPointer | None, release: Release) -> None:
    """Move the pointer, or say that somebody else was first: then their release is served, and that is fine."""
    try:
        move_pointer(store, held, release.name, release.version, "published by the exporter", SystemClock())
    except Superseded as error:
        logger.warning("superseded", extra={"cause": str(error)})
        raise


def _facts(checkpoint: Checkpoint, graph: TokenizedGraph, target: str) -> dict[str, Any]:
    tensors, trained = graph.tensors, checkpoint.metadata
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": str(trained["fingerprint"]),
        "scores": {name: trained["scores"][name] for name in SHOWN_SCORES},
        "signature_version": SIGNATURE_VERSION,
        "triton_target": target,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "code_version": __version__,
        "git_commit": str(trained["git_commit"]),
        "sizes": {
            "users": tensors.num_users,
            "posts": tensors.num_posts,
            "tags": tensors.num_tags,
            "interactions": len(tensors.interactions),
        },
    }
