"""The night's graph, tried again with a new snapshot when Postgres fails: three times, then yesterday's model stays."""

from __future__ import annotations

import logging

from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt, wait_fixed

from waypost.errors import PostgresUnavailable
from waypost.graph.facts import GraphRead
from waypost.graph.mapping import Mapping
from waypost.graph.postgres import SessionLimits
from waypost.graph.reading import read_graph
from waypost.objects.protocols import ObjectStore
from waypost.settings import TrainerSettings

logger = logging.getLogger(__name__)
ATTEMPTS = 3
BETWEEN_ATTEMPTS_SECONDS = 2.0


def read_patiently(dsn: str, store: ObjectStore, mapping: Mapping, settings: TrainerSettings) -> GraphRead:
    """The graph of this moment. Raises PostgresUnavailable, SchemaError, EmptyGraph, StoreUnavailable."""
    limits = SessionLimits(settings.connections, settings.server_workers, settings.statement_timeout_seconds)
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_fixed(BETWEEN_ATTEMPTS_SECONDS),
        retry=retry_if_exception_type(PostgresUnavailable),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )
    return attempts(read_graph, dsn, store, mapping, limits)
