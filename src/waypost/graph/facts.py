"""What reading the app's tables found, source by source: the raw material of the data contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from waypost.graph.tensors import GraphTensors


@dataclass(frozen=True)
class SourceFacts:
    """One SELECT of the mapping."""

    rows: int  # that it gave in this snapshot
    null_ids: int  # of them without an id they need: not used
    orphans: int  # of them naming a user, post or tag that is not there: not used


@dataclass(frozen=True)
class ReadCosts:
    """What reading took: for the log, the metrics and the bench."""

    seconds: Mapping[str, float]  # by stage
    postgres_bytes: int = 0
    cache_read_bytes: int = 0
    cache_written_bytes: int = 0
    snapshot_age_seconds: float = 0.0  # when the last row was read


@dataclass(frozen=True, eq=False)
class GraphRead:
    """One snapshot, read whole or brought up to date from the cache; the tensors are the same either way."""

    fingerprint: str
    tensors: GraphTensors  # without tokens
    sources: Mapping[str, SourceFacts]  # by the source's name: users, posts, tags, post_tags, interactions…
    taken_at: float  # seconds since the epoch, by the server's clock
    costs: ReadCosts = ReadCosts({})
