"""The trainer, as a recipe: read the graph, train on its past, judge on its last part, gate, learn that part too, keep.

The figures come from a model that never saw the holdout; the one that is kept has learned it afterwards.
"""

from __future__ import annotations

import logging
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waypost.logs import stage
from waypost.model.checkpoint import save_checkpoint
from waypost.model.serving import ServingTables
from waypost.model.tables import to_serving_tables
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import Parts, TrainerSettings
from waypost.trainer.fit import fit
from waypost.trainer.gate import GateDecision, decide, require_accepted, sanity_faults
from waypost.trainer.holdout import HoldoutReport, is_finite, measure, spread_of, write_evaluation
from waypost.trainer.reading import read_graph
from waypost.trainer.split import split

logger = logging.getLogger(__name__)


def run(settings: TrainerSettings, parts: Parts, evaluation: Path | None) -> str:
    """Train and keep a checkpoint; returns its name. With `evaluation`, the judged lists are written there.

    Raises PostgresUnavailable, SchemaError, EmptyGraph, StoreUnavailable, or GateRefused; nothing is kept then.
    """
    store = S3ObjectStore(s3_client(parts.s3), parts.bucket)
    fingerprint, graph = read_graph(parts.postgres_dsn, store, settings.statement_timeout_seconds)
    tensors = graph.tensors
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
    model = fit(tensors, tensors.interactions, settings, settings.seed, init=model)
    require_sane(to_serving_tables(model, tensors, tensors.interactions))
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{fingerprint[:8]}"
    with stage(logger, "checkpoint kept", checkpoint=name):
        save_checkpoint(store, name, model, describe(fingerprint, settings, report, decision))
    return name


def require_sane(tables: ServingTables) -> None:
    """The model that is kept has learned on after it was judged; raises GateRefused if that ruined it."""
    faults = sanity_faults(is_finite(tables), spread_of(tables))
    require_accepted(GateDecision(not faults, "; ".join(faults)))


def describe(
    fingerprint: str, settings: TrainerSettings, report: HoldoutReport, decision: GateDecision
) -> dict[str, Any]:
    """What a person wants to know of a checkpoint years later."""
    return {
        "fingerprint": fingerprint,
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
