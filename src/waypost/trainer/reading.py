"""The night's graph: from S3 when its fingerprint is known there, else from Postgres, then kept in S3."""

from __future__ import annotations

import logging

from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt, wait_fixed

from waypost.errors import PostgresUnavailable
from waypost.graph.building import to_tensors
from waypost.graph.postgres import open_snapshot
from waypost.graph.schema import check_schema
from waypost.graph.snapshot import Snapshot, read_fingerprint, read_snapshot
from waypost.graph.store import CachedGraph, load_tensors, save_tensors
from waypost.logs import stage
from waypost.model.features import encode_texts, train_tokenizer
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
ATTEMPTS = 3  # each with a new snapshot; then the night ends and yesterday's model stays
BETWEEN_ATTEMPTS_SECONDS = 2.0


def read_graph(dsn: str, store: ObjectStore, statement_timeout_seconds: float) -> tuple[str, CachedGraph]:
    """(fingerprint, graph) of this moment. Raises PostgresUnavailable, SchemaError, EmptyGraph, StoreUnavailable."""
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_fixed(BETWEEN_ATTEMPTS_SECONDS),
        retry=retry_if_exception_type(PostgresUnavailable),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )
    fingerprint, found = attempts(_read_once, dsn, store, statement_timeout_seconds)
    if isinstance(found, CachedGraph):
        return fingerprint, found
    graph = build_graph(found)
    with stage(logger, "tensors kept", fingerprint=fingerprint):
        save_tensors(store, fingerprint, graph)
    return fingerprint, graph


def build_graph(snapshot: Snapshot) -> CachedGraph:
    """Tokenizer and tensors of a snapshot; the same rows give the same bytes, in whatever order they came."""
    with stage(logger, "tokenizer trained") as found:
        tokenizer = train_tokenizer(sorted(snapshot.texts))
        found["texts"] = len(snapshot.texts)
    with stage(logger, "tensors built") as found:
        tensors, dropped = to_tensors(snapshot, lambda texts: encode_texts(tokenizer, texts))
        found.update(users=tensors.num_users, posts=tensors.num_posts, interactions=len(tensors.interactions))
    if any((dropped.interactions, dropped.post_tags, dropped.authors)):
        logger.warning("rows that point nowhere were dropped", extra={"dropped": str(dropped)})
    return CachedGraph(tensors, tokenizer)


def _read_once(dsn: str, store: ObjectStore, statement_timeout_seconds: float) -> tuple[str, CachedGraph | Snapshot]:
    with open_snapshot(dsn, statement_timeout_seconds) as snapshot:
        check_schema(snapshot)
        with stage(logger, "fingerprint read"):
            fingerprint = read_fingerprint(snapshot)
        with stage(logger, "tensors looked up", fingerprint=fingerprint) as found:
            cached = load_tensors(store, fingerprint)
            found["cached"] = cached is not None
        if cached is not None:
            return fingerprint, cached
        with stage(logger, "snapshot read"):
            return fingerprint, read_snapshot(snapshot)
