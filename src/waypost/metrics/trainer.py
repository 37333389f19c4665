"""What one night found and took: gauges, since a job counts nothing that the next one goes on counting.

Without a label and not found yet, a figure is NaN: 0 would look like a finding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager

from prometheus_client import Gauge

from waypost.metrics.declaring import Declared, ProcessMetrics, gauge


def _figure(name: str, what: str, *labels: str) -> Declared[Gauge]:
    return gauge(f"waypost_trainer_{name}", what, *labels, first=math.nan)


class TrainerMetrics(ProcessMetrics):
    # The data contract: `source` is a SELECT of the mapping, of which there are about a dozen.
    rows = _figure("rows", "Rows that a source gave.", "source")
    null_share = _figure("null_share", "Share of a source's rows without an id they need.", "source")
    orphan_share = _figure("orphan_share", "Share of a source's rows naming what is not there.", "source")
    duplicate_share = _figure("duplicate_share", "Share of interactions equal to another, time included.")
    largest_share = _figure("largest_share", "Share of all interactions that one user or post holds.", "node")
    high_degree = _figure("high_degree", "Interactions of a user or post, the 99.9th percentile.", "node")
    future_share = _figure("future_share", "Share of interactions or posts later than the snapshot.", "of")
    furthest_future = _figure("furthest_future_seconds", "How far the latest time lies past the snapshot.")
    untimed_share = _figure("untimed_share", "Share of interactions without a time.")
    textless_share = _figure("textless_share", "Share of posts with neither title nor body.")
    untagged_share = _figure("untagged_share", "Share of posts without a tag.")
    tags = _figure("tags", "Distinct names of tags.")
    tag_drift = _figure("tag_drift", "Share of tag names not shared with the last accepted night's.")
    contract_verdict = _figure(
        "contract_verdict", "A check of the data contract: 0 ok, 1 warning, 2 refused.", "check", "source"
    )
    contract_checks = _figure("contract_checks", "Checks of the data contract by verdict.", "verdict")
    contract_nights = _figure("contract_nights", "Accepted nights that this one was compared with.")
    # The reading.
    snapshot_age = _figure(
        "snapshot_age_seconds", "How long Postgres had to keep the snapshot, until the last row was read."
    )
    stage_seconds = _figure("stage_seconds", "Time of each stage of the night.", "stage")
    postgres_bytes = _figure("postgres_bytes", "Bytes that Postgres sent.")
    cache_bytes = _figure("cache_bytes", "Bytes of the cache in S3: read, written.", "direction")
    cache_hit = _figure(
        "cache_hit", "Whether the night found what an earlier one kept: 1 yes, 0 no; graph, weights.", "cache"
    )
    # The gate.
    gate_verdict = _figure(
        "gate_verdict", "A check of the gate: 0 passed, 1 let pass by an operator, 2 refused.", "check"
    )
    gate_value = _figure("gate_value", "What a check of the gate judges.", "check", "measure")
    gate_bound = _figure("gate_bound", "What that value is judged by.", "check", "measure")
    # The end.
    exit_code = _figure("exit_code", "How the night ended: 0 well, 3 refused by the data contract or the gate.")
    ended = _figure("ended_timestamp_seconds", "When the night ended, in seconds since the epoch.")

    def was_read(
        self, stages: Mapping[str, float], postgres_bytes: int, cache_read: int, cache_written: int, snapshot_age: float
    ) -> None:
        """What reading the graph took: bytes, and seconds by stage and of the snapshot's life."""
        for stage, seconds in stages.items():
            self.stage_seconds.labels(stage).set(seconds)
        self.postgres_bytes.set(postgres_bytes)
        self.cache_bytes.labels("read").set(cache_read)
        self.cache_bytes.labels("written").set(cache_written)
        self.snapshot_age.set(snapshot_age)
        self.cache_hit.labels("graph").set(float(cache_read > 0))

    def time(self, stage: str) -> AbstractContextManager[object]:
        """The block is that stage of the night."""
        return self.stage_seconds.labels(stage).time()
