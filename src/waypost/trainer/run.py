"""The trainer, as a recipe: read the graph, train on its past, judge on its last part, gate, learn that part too, keep.

The figures come from a model that never saw the holdout; the one that is kept has learned it afterwards.
"""

from __future__ import annotations

import logging
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waypost.graph.mapping import Mapping
from waypost.graph.retention import keep_tidy
from waypost.logs import stage
from waypost.metrics import TrainerMetrics
from waypost.model.checkpoint import save_checkpoint
from waypost.model.kinds import taught
from waypost.model.serving import ServingTables
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import TokenizedGraph, tokenized
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import CacheSettings, Parts, TrainerSettings
from waypost.trainer.contract import require_contract
from waypost.trainer.fit import fit
from waypost.trainer.gate import GateDecision, decide, require_accepted, sanity_faults
from waypost.trainer.holdout import HoldoutReport, is_finite, measure, spread_of, write_evaluation
from waypost.trainer.metrics_out import published
from waypost.trainer.reading import read_patiently
from waypost.trainer.split import split

logger = logging.getLogger(__name__)


def run(
    settings: TrainerSettings, cache: CacheSettings, parts: Parts, mapping: Mapping, evaluation: Path | None
) -> str:
    """Train and keep a checkpoint; returns its name. With `evaluation`, the judged lists are written there.

    Raises PostgresUnavailable, SchemaError, EmptyGraph, StoreUnavailable, DataContractRefused or GateRefused; no
    checkpoint is kept then.
    """
    metrics, store = TrainerMetrics(), S3ObjectStore(s3_client(parts.s3), parts.bucket)
    with published(metrics, settings):
        name = _run(settings, store, parts.postgres_dsn, mapping, evaluation, metrics)
        keep_tidy(store, cache, time.time())
        return name


def _run(
    settings: TrainerSettings,
    store: ObjectStore,
    dsn: str,
    mapping: Mapping,
    evaluation: Path | None,
    metrics: TrainerMetrics,
) -> str:
    read = read_patiently(dsn, store, mapping, settings)
    costs = read.costs
    metrics.was_read(
        costs.seconds,
        costs.postgres_bytes,
        cache_read=costs.cache_read_bytes,
        cache_written=costs.cache_written_bytes,
        snapshot_age=costs.snapshot_age_seconds,
    )
    require_contract(store, read, settings, metrics)
    graph = tokenized(store, read.fingerprint, read.tensors)
    tensors, learned = graph.tensors, taught(graph.tensors)
    cut = split(tensors, settings.holdout_share, settings.seed)
    model = fit(tensors, cut.train, settings, settings.seed)
    with stage(logger, "holdout judged") as found:
        report = measure(model, tensors, cut, settings)
        found.update(report.figures())
    if evaluation is not None:
        write_evaluation(evaluation, tensors, cut, report)
    decision = decide(report)
    logger.info("gate decided", extra={"accepted": decision.accepted, "reason": decision.reason})
    require_accepted(decision)
    model = fit(tensors, learned, settings, settings.seed, init=model)
    require_sane(to_serving_tables(model, tensors, learned))
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{read.fingerprint[:8]}"
    with stage(logger, "checkpoint kept", checkpoint=name):
        save_checkpoint(store, name, model, describe(read.fingerprint, graph, settings, report, decision))
    return name


def require_sane(tables: ServingTables) -> None:
    """The model that is kept has learned on after it was judged; raises GateRefused if that ruined it."""
    faults = sanity_faults(is_finite(tables), spread_of(tables))
    require_accepted(GateDecision(not faults, "; ".join(faults)))


def describe(
    fingerprint: str,
    graph: TokenizedGraph,
    settings: TrainerSettings,
    report: HoldoutReport,
    decision: GateDecision,
) -> dict[str, Any]:
    """What a person wants to know of a checkpoint years later."""
    return {
        "fingerprint": fingerprint,
        "tokenizer_sha256": graph.tokenizer_sha256,
        "settings": settings.model_dump(mode="json"),
        "scores": report.figures(),
        "gate": decision.reason,
        "git_commit": read_git_commit(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_git_commit() -> str:
    """The commit of the checkout this code runs from; `unknown` for an installed package."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
