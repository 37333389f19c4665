"""A refresh, as a recipe: the graph of this moment, told by the weights of the release that is served. No training.

New posts and users get the vectors that the trained encoder gives them, changed ones those of what they are now; a node
that the weights do not know is cold (inheriting.py). What comes out is a checkpoint like a night's, which the exporter
proves and publishes like a night's; its scores are those of the night that trained the weights, and it says so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from waypost.clock import Clock, SystemClock
from waypost.errors import CorruptObject, NoRelease
from waypost.graph.contract import inspect as inspect_graph
from waypost.graph.contract import judge
from waypost.graph.facts import GraphRead
from waypost.graph.mapping import Mapping
from waypost.graph.retention import REFRESHES
from waypost.logs import stage
from waypost.model.checkpoint import (
    WholeCheckpoint,
    list_checkpoints,
    load_metadata,
    load_whole_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from waypost.model.inheriting import inherit, rows_before
from waypost.model.kinds import taught
from waypost.model.nodes import nodes_of
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import TokenizedGraph, remove_tokens, tokenized_by
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.pointer import read_pointer
from waypost.release.store import load_release_manifest
from waypost.settings import Parts, TrainerSettings
from waypost.trainer.contract import limits_of, load_history, refusal, save_report
from waypost.trainer.gate import require_sane
from waypost.trainer.reading import read_patiently

logger = logging.getLogger(__name__)
REFRESHED_FROM = "refreshed_from"  # in the metadata: the checkpoint that a training made
KEPT_REFRESHES = 3  # of hundreds a day: the exporter takes the newest; a release has files of its own
NOTE = "scores and gate are those of the night that trained these weights; the refresh trained nothing"


@dataclass(frozen=True)
class Refreshed:
    checkpoint: str
    release: str  # that was served when the refresh began: only instead of this one may the new one be served


@dataclass(frozen=True)
class _Served:
    release: str
    checkpoint: str
    metadata: dict[str, Any]  # of the checkpoint
    weights: str  # the checkpoint that a training made of the release's weights


def run(settings: TrainerSettings, parts: Parts, mapping: Mapping) -> Refreshed | None:
    """Keep a checkpoint of the graph of this moment; None when there is nothing to refresh, which is said.

    Raises PostgresUnavailable, SchemaError, EmptyGraph, StoreUnavailable, DataContractRefused, GateRefused, NoRelease
    and CorruptObject; the served release stays, whichever it is.
    """
    store = S3ObjectStore(s3_client(parts.s3), parts.bucket)
    return refresh(store, parts.postgres_dsn, settings, mapping, SystemClock())


def refresh(
    store: ObjectStore, dsn: str, settings: TrainerSettings, mapping: Mapping, clock: Clock
) -> Refreshed | None:
    """The same on any store."""
    served = read_served(store)
    if served is None:
        return None
    read = read_patiently(dsn, store, mapping, settings)
    if read.fingerprint == served.metadata.get("fingerprint"):
        logger.info("nothing new since the served release", extra={"release": served.release})
        return None
    require_contract_now(store, read, settings, clock)
    with stage(logger, "weights loaded", checkpoint=served.weights):
        trained = load_weights(store, served)
    graph = tokenized_by(store, read.fingerprint, read.tensors, trained.tokenizer)
    with stage(logger, "graph told by the served weights") as found:
        told = refreshed(trained, graph)
        found.update(_new_nodes(trained, told))
    require_sane(to_serving_tables(told.model, graph.tensors, taught(graph.tensors)))
    now = datetime.fromtimestamp(clock.now(), UTC)
    name = f"{now:%Y%m%dT%H%M%S%f}-{read.fingerprint[:8]}{REFRESHES}"
    with stage(logger, "checkpoint kept", checkpoint=name):
        save_checkpoint(store, name, _described(told, read, served, now))
        remove_older_refreshes(store, served.checkpoint)
    return Refreshed(name, served.release)


def read_served(store: ObjectStore) -> _Served | None:
    """What is served; None, and said, while operators have pinned it: then nothing that is published is served.

    Raises NoRelease, CorruptObject, StoreUnavailable.
    """
    held = read_pointer(store)
    if held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first: it trains what a refresh uses")
    release = held.pointer.release
    if held.pointer.pinned:
        logger.warning("pinned: not refreshed", extra={"release": release, "by": held.pointer.moved_by})
        return None
    checkpoint = str(load_release_manifest(store, release).facts.get("checkpoint"))
    try:
        metadata = load_metadata(store, checkpoint)
    except CorruptObject as error:
        raise NoRelease(f"release {release} cannot be refreshed: {error.cause}", "run `waypost night`") from error
    return _Served(release, checkpoint, metadata, str(metadata.get(REFRESHED_FROM, checkpoint)))


def load_weights(store: ObjectStore, served: _Served) -> WholeCheckpoint:
    """Those that a training made: a node that went and came back has its row again. Raises NoRelease."""
    try:
        return load_whole_checkpoint(store, served.weights)
    except CorruptObject as error:
        raise NoRelease(
            f"release {served.release} cannot be refreshed: {error.cause}", "run `waypost night`"
        ) from error


def refreshed(trained: WholeCheckpoint, graph: TokenizedGraph) -> WholeCheckpoint:
    """Both sets of weights for this graph's rows. Raises CorruptObject."""
    now = nodes_of(graph.tensors)
    rows = rows_before(trained.nodes, trained.tokenizer, len(trained.model.token), graph, now)
    model, blind = inherit(trained.model, rows), inherit(trained.blind, rows)
    return WholeCheckpoint(model, trained.metadata, blind, now, graph.tokenizer)


def require_contract_now(store: ObjectStore, read: GraphRead, settings: TrainerSettings, clock: Clock) -> None:
    """The night's data contract. A report is kept of a refusal only: history is of nights.

    Raises DataContractRefused, unless settings.contract is `report`.
    """
    report = judge(inspect_graph(read), load_history(store), limits_of(settings))
    if report.of("refused") and settings.contract != "report":
        raise refusal(report, save_report(store, read.fingerprint, report, False, clock))


def remove_older_refreshes(store: ObjectStore, served: str) -> None:
    """Checkpoints of refreshes, but for the newest and the one that is served; and their tokens.

    Their graphs are the cache's (graph/retention.py). Raises StoreUnavailable.
    """
    names = list_checkpoints(store)
    going = [name for name in names if name.endswith(REFRESHES)][KEPT_REFRESHES:]
    going = [name for name in going if name != served]
    for name in going:
        fingerprint = _fingerprint_of(store, name)
        if not any(fingerprint[:8] in other for other in names if other not in going):  # names hold so much of it
            remove_tokens(store, fingerprint)
        remove_checkpoint(store, name)


def _fingerprint_of(store: ObjectStore, checkpoint: str) -> str:
    try:
        return str(load_metadata(store, checkpoint).get("fingerprint", ""))
    except CorruptObject:
        return ""


def _described(told: WholeCheckpoint, read: GraphRead, served: _Served, now: datetime) -> WholeCheckpoint:
    facts = {
        "fingerprint": read.fingerprint,
        "made_at": now.isoformat(timespec="seconds"),
        REFRESHED_FROM: served.weights,
        "note": NOTE,
    }
    return WholeCheckpoint(told.model, {**told.metadata, **facts}, told.blind, told.nodes, told.tokenizer)


def _new_nodes(trained: WholeCheckpoint, told: WholeCheckpoint) -> dict[str, int]:
    """How many more there are of each, for the log."""
    before, now = trained.model.shape(), told.model.shape()
    return {f"more_{what}": now[f"num_{what}"] - before[f"num_{what}"] for what in ("users", "posts", "tags")}
