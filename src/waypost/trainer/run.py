"""The trainer, as a recipe: read the graph, train on its past, judge on its last part, gate, train on all of it, keep.

The figures come from a model that never saw the holdout; the one that is kept is its twin, which did. A night that
is refused, or only tried (`--dry-run`), keeps nothing but what reading the graph keeps.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime

from waypost.errors import GateRefused
from waypost.graph.facts import ReadCosts
from waypost.graph.mapping import Mapping
from waypost.graph.retention import keep_tidy
from waypost.logs import stage
from waypost.metrics import TrainerMetrics
from waypost.model.checkpoint import WholeCheckpoint, save_checkpoint
from waypost.model.graphsage import GraphSAGE
from waypost.model.kinds import taught
from waypost.model.nodes import nodes_of
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import TokenizedGraph, tokenized
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import CacheSettings, Parts, TrainerSettings
from waypost.trainer.baselines import BaselineCache
from waypost.trainer.checks import Override
from waypost.trainer.continuing import choose_start, cut_facts
from waypost.trainer.contract import require_contract
from waypost.trainer.describing import Night, metadata_of, report_of, write_page
from waypost.trainer.fit import Fitted, fit_with_curve
from waypost.trainer.gate import GateDecision, decide, require_accepted, require_sane
from waypost.trainer.gate_metrics import show_gate
from waypost.trainer.holdout import HoldoutReport, measure, write_evaluation
from waypost.trainer.metrics_out import published
from waypost.trainer.reading import read_patiently
from waypost.trainer.report import to_html
from waypost.trainer.resuming import NightProgress, facts_of
from waypost.trainer.served import boundary_before, load_served, opponent
from waypost.trainer.split import split
from waypost.trainer.table import print_report
from waypost.trainer.unfinished import read_unfinished
from waypost.trainer.wishes import NightWish

logger = logging.getLogger(__name__)


def run(
    settings: TrainerSettings, cache: CacheSettings, parts: Parts, mapping: Mapping, wish: NightWish | None = None
) -> str | None:
    """Train and keep a checkpoint; returns its name, None for a dry run.

    Raises PostgresUnavailable, SchemaError, EmptyGraph, StoreUnavailable, DataContractRefused or GateRefused; no
    checkpoint is kept then. UsageError for a file or folder of the wish that cannot be written.
    """
    metrics, store = TrainerMetrics(), S3ObjectStore(s3_client(parts.s3), parts.bucket)
    with published(metrics, settings):
        name = train_night(settings, store, parts.postgres_dsn, mapping, wish or NightWish(), metrics)
        keep_tidy(store, cache, time.time())
        return name


def train_night(
    settings: TrainerSettings,
    store: ObjectStore,
    dsn: str,
    mapping: Mapping,
    wish: NightWish,
    metrics: TrainerMetrics,
) -> str | None:
    """The same on any store."""
    fingerprint, graph = _read(settings, store, dsn, mapping, metrics)
    served = load_served(store)
    cut = split(graph.tensors, settings.holdout_share, settings.seed, boundary_before(store, served))
    start = choose_start(store, settings, graph, cut)
    metrics.cache_hit.labels("weights").set(float(bool(start.name)))
    progress = NightProgress(store, facts_of(fingerprint, cut_facts(settings, cut), settings))
    keeper = progress.phase("blind", start.name)
    with metrics.time("judged model trained"):
        blind = fit_with_curve(graph.tensors, cut.train, settings, settings.seed, start.blind, keeper=keeper)
    night = Night(datetime.now(UTC), fingerprint, graph, cut, start, served, settings, blind.curve)
    with metrics.time("holdout judged"):
        report, decision = _judge(night, blind.model, store, wish)
    show_gate(decision, report, settings.gate_min_coverage, metrics)
    if wish.dry_run or not decision.accepted:
        progress.leave()
        if wish.dry_run:
            print_report(report, decision, sys.stdout)
        require_accepted(decision)
        return None
    with metrics.time("kept model trained"):
        kept = _fit_kept(night, progress, wish.override)
    with metrics.time("checkpoint kept"), stage(logger, "checkpoint kept", checkpoint=night.name):
        described = metadata_of(night, report, decision)
        checkpoint = WholeCheckpoint(kept.model, described, blind.model, nodes_of(graph.tensors), graph.tokenizer)
        save_checkpoint(store, night.name, checkpoint, to_html(report_of(night, report, decision)))
    progress.forget()
    return night.name


def _read(
    settings: TrainerSettings, store: ObjectStore, dsn: str, mapping: Mapping, metrics: TrainerMetrics
) -> tuple[str, TokenizedGraph]:
    """The fingerprint and the graph: of a night that was killed a short while ago, else of this moment, inside the
    data contract."""
    if unfinished := read_unfinished(store, mapping, settings, time.time()):
        return unfinished
    read = read_patiently(dsn, store, mapping, settings)
    _tell_costs(read.costs, metrics)
    require_contract(store, read, settings, metrics)
    return read.fingerprint, tokenized(store, read.fingerprint, read.tensors)


def _tell_costs(costs: ReadCosts, metrics: TrainerMetrics) -> None:
    metrics.was_read(
        costs.seconds,
        costs.postgres_bytes,
        cache_read=costs.cache_read_bytes,
        cache_written=costs.cache_written_bytes,
        snapshot_age=costs.snapshot_age_seconds,
    )


def _judge(night: Night, model: GraphSAGE, store: ObjectStore, wish: NightWish) -> tuple[HoldoutReport, GateDecision]:
    """The report and the gate's decision, logged, and written wherever the caller wants to see them."""
    tensors, cut, settings = night.graph.tensors, night.cut, night.settings
    with stage(logger, "holdout judged") as found:
        against = opponent(night.served, settings, night.graph, cut)
        report = measure(model, tensors, cut, settings, against, BaselineCache(store, night.fingerprint))
        found.update(report.headline())
    decision = decide(report, settings, wish.override)
    logger.info("gate decided", extra={"accepted": decision.accepted, "reason": decision.reason})
    if wish.evaluation is not None:
        write_evaluation(wish.evaluation, tensors, cut, report)
    if wish.report is not None:
        write_page(wish.report, to_html(report_of(night, report, decision)))
    return report, decision


def _fit_kept(night: Night, progress: NightProgress, override: Override | None) -> Fitted:
    """The model that is kept: the judged one's twin, taught the holdout too. Raises GateRefused if that ruins it."""
    tensors, learned, settings = night.graph.tensors, taught(night.graph.tensors), night.settings
    keeper = progress.phase("kept", night.start.name)
    kept = fit_with_curve(tensors, learned, settings, settings.seed, night.start.kept, keeper=keeper)
    try:
        require_sane(to_serving_tables(kept.model, tensors, learned), override)
    except GateRefused:
        progress.leave()
        raise
    return kept
