"""From a checkpoint to a release: its files and what its manifest says of them. Nothing is written anywhere.

The exported model must answer as the eager one does, else there is no release.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from waypost import __version__
from waypost.errors import PipelineError
from waypost.exporter.contents import ask_golden, build_lookups, golden_rows
from waypost.exporter.onnx_graph import IR_VERSION, OPSET, to_onnx
from waypost.exporter.publishing import REFRESHED_FROM, Release
from waypost.exporter.reference import reference_scores
from waypost.model.checkpoint import Checkpoint
from waypost.model.kinds import taught
from waypost.model.serving import ServingTables
from waypost.model.signature import FORBIDDEN_SCORE, SIGNATURE_VERSION, Row, Sizes
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import TokenizedGraph
from waypost.release import golden, lookups
from waypost.release.golden import ABSOLUTE_TOLERANCE, Golden
from waypost.release.onnx_runner import load_onnx
from waypost.release.popular import to_popular
from waypost.release.preflight import TARGETS
from waypost.release.store import GOLDEN, LOOKUPS, MODEL, POPULAR, TOKENIZER, release_name

SHOWN_SCORES = ("recall", "ndcg", "popularity_recall", "popularity_ndcg")  # of the holdout, beside each release
SHOWN_OF_THE_GATE = {"gate": "reason", "gate_override": "override"}  # figures stay with the checkpoint
EAGER_TOLERANCE = 1e-4  # relative; the exported model and the eager one sum fp32 in different orders


@dataclass(frozen=True)
class BuiltRelease(Release):
    """With what its proof on a Triton needs."""

    sizes: Sizes
    golden: Golden


def build_release(
    version: int, run_name: str, checkpoint: Checkpoint, graph: TokenizedGraph, target: str
) -> BuiltRelease:
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
    return BuiltRelease(name, version, files, facts, found.sizes, asked)


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


def _gate_facts(gate: object) -> dict[str, Any]:
    """What an operator must know of the decision: what it said, and what was let pass, why and by whom."""
    told = gate if isinstance(gate, Mapping) else {}
    return {fact: told[name] for fact, name in SHOWN_OF_THE_GATE.items() if told.get(name)}


def _facts(checkpoint: Checkpoint, graph: TokenizedGraph, target: str) -> dict[str, Any]:
    tensors, trained = graph.tensors, checkpoint.metadata
    refresh = {REFRESHED_FROM: str(trained[REFRESHED_FROM])} if REFRESHED_FROM in trained else {}
    return {
        **refresh,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": str(trained["fingerprint"]),
        "scores": {name: trained["scores"][name] for name in SHOWN_SCORES},
        **_gate_facts(trained.get("gate")),
        "signature_version": SIGNATURE_VERSION,
        "triton_target": target,
        "onnxruntime": TARGETS[target].onnxruntime,
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
