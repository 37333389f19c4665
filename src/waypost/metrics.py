"""Every metric of every process: `waypost_<process>_<what>_seconds|_total|_bytes`, declared here and nowhere else.

Classic histograms, because prometheus_client has no native ones; their buckets are finer than the slowness that
on-call wants to see. An id is never a label, and `model_version` is bounded: the series of a release that is no
longer served are removed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from waypost import __version__

# No wider than 50 ms up to 300 ms, with the objective (0.25 s) as an edge; 10 s is the longest deadline.
SECONDS_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.5, 10.0)
LOAD_BUCKETS = (*SECONDS_BUCKETS, 30.0, 60.0)  # loading may take WAYPOST_WORKER_LOAD_TIMEOUT_SECONDS
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # requests; WAYPOST_WORKER_BATCH is at most 256
NO_VERSION = "none"
# Today's release and the one before, so that on-call can compare them; with 7 stages a process stays under 500 series.
MODEL_VERSIONS_KEPT = 2

disable_created_metrics()  # type: ignore[no-untyped-call]  # a timestamp per series that nobody reads


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    build = Gauge("waypost_build_info", "The version of the code that runs.", ["version"], registry=registry)
    build.labels(__version__).set(1)
    return registry


class _ByModelVersion:
    """A histogram with a model_version label that keeps only the versions that answered last."""

    def __init__(self, name: str, what: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        names = (*labels, "model_version", "version")
        self._histogram = Histogram(name, what, names, buckets=SECONDS_BUCKETS, registry=registry)
        self._children: dict[tuple[str, ...], Histogram] = {}  # labels() locks and checks each name; this does not

    def observe(self, seconds: float, *labels: str) -> None:
        """The model version is the last label."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._histogram.labels(*labels, __version__)
        child.observe(seconds)

    def forget(self, model_version: str) -> None:
        for labels in [labels for labels in tuple(self._children) if labels[-1] == model_version]:
            self._children.pop(labels, None)
        self._histogram.remove_by_labels({"model_version": model_version})


class _Versions:
    """The model versions that answered last, newest at the end."""

    def __init__(self) -> None:
        self._kept: list[str] = []

    def pushed_out_by(self, model_version: str) -> str | None:
        """The version whose series go, now that this one answers; None as long as there is room."""
        if model_version == NO_VERSION or (self._kept and self._kept[-1] == model_version):
            return None
        if model_version in self._kept:
            self._kept.remove(model_version)
        self._kept.append(model_version)
        return self._kept.pop(0) if len(self._kept) > MODEL_VERSIONS_KEPT else None


def version_label(model_version: int | None) -> str:
    return NO_VERSION if model_version is None else str(model_version)


class GatewayMetrics:
    """Stages: validate, enqueue, wait, encode."""

    def __init__(self) -> None:
        self.registry = registry = _registry()
        self._versions = _Versions()
        self._stage = _ByModelVersion(
            "waypost_gateway_stage_seconds", "Time of one answer in each stage.", ("stage",), registry
        )
        self._request = _ByModelVersion(
            "waypost_gateway_request_seconds", "From a whole request to its written answer.", ("source",), registry
        )
        self.requests = Counter(
            "waypost_gateway_requests_total", "Requests to /recommend by status.", ["code", "source"], registry=registry
        )
        self.degraded = Counter(
            "waypost_gateway_degraded_total", "Answers that the model should have ranked.", ["cause"], registry=registry
        )
        self.replies = Counter(
            "waypost_gateway_replies_total",
            "Replies by what became of them: used, late (or a repetition), rejected.",
            ["outcome"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "waypost_gateway_in_flight_requests", "Requests that wait for their answer.", registry=registry
        )
        self.release = Gauge(
            "waypost_gateway_release_info", "The release of the popularity list.", ["model_version"], registry=registry
        )
        self.pointer_reads = Counter(
            "waypost_gateway_pointer_reads_total", "Looks at the release pointer.", ["outcome"], registry=registry
        )

    def answered(self, model_version: int | None, source: str, stages: Mapping[str, float], seconds: float) -> None:
        label = version_label(model_version)
        self._make_room(label)
        for stage, spent in stages.items():
            self._stage.observe(spent, stage, label)
        self._request.observe(seconds, source, label)

    def _make_room(self, label: str) -> None:
        if (gone := self._versions.pushed_out_by(label)) is not None:
            self._stage.forget(gone)
            self._request.forget(gone)

    def holds_release(self, model_version: int) -> None:
        """The popularity list is that of this release, and of no other."""
        self.release.clear()
        self.release.labels(str(model_version)).set(1)


class WorkerMetrics:
    """Stages: queue_wait, decode, lookup, tokenize, infer, encode, reply."""

    def __init__(self) -> None:
        self.registry = registry = _registry()
        self._stage = _ByModelVersion(
            "waypost_worker_stage_seconds", "Time of one answer in each stage.", ("stage",), registry
        )
        self.messages = Counter(
            "waypost_worker_messages_total",
            "Deliveries by outcome: answered, expired, rejected, failed, released.",
            ["outcome"],
            registry=registry,
        )
        self.answers = Counter("waypost_worker_answers_total", "Answers by source.", ["source"], registry=registry)
        self.rejected = Counter(
            "waypost_worker_rejected_total", "Deliveries that were dropped unanswered.", ["reason"], registry=registry
        )
        self.batch = Histogram(
            "waypost_worker_batch_requests", "Requests in one Triton call.", buckets=BATCH_BUCKETS, registry=registry
        )
        self.unavailable = Counter(
            "waypost_worker_unavailable_total", "Calls that found a part unavailable.", ["part"], registry=registry
        )
        self.release = Gauge("waypost_worker_release_info", "The served release.", ["model_version"], registry=registry)
        self.release_loads = Counter(
            "waypost_worker_release_loads_total",
            "Releases tried: served, refused (not whole, or not loaded), given up (worse than the one before).",
            ["outcome"],
            registry=registry,
        )
        self.revivals = Counter(
            "waypost_worker_triton_revivals_total", "Times that Triton was made to answer again.", registry=registry
        )
        self.release_load = Histogram(
            "waypost_worker_release_load_seconds",
            "Fetch, verify, load and golden questions of one release.",
            buckets=LOAD_BUCKETS,
            registry=registry,
        )

    def answered(self, model_version: int | None, stages: Mapping[str, float]) -> None:
        label = version_label(model_version)
        for stage, spent in stages.items():
            self._stage.observe(spent, stage, label)

    def serves_release(self, model_version: int) -> None:
        """This release answers from now on."""
        self.release.clear()
        self.release.labels(str(model_version)).set(1)

    def forget_release(self, model_version: int) -> None:
        """The release is unloaded: its series go with it."""
        self._stage.forget(str(model_version))


class TrainerMetrics:
    """What one night found and took: gauges, since a job counts nothing that the next one goes on counting.

    Without a label and not found yet, a figure is NaN: 0 would look like a finding.
    """

    def __init__(self) -> None:
        self.registry = registry = _registry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            made = Gauge(f"waypost_trainer_{name}", what, labels, registry=registry)
            if not labels:
                made.set(math.nan)
            return made

        # The data contract: `source` is a SELECT of the mapping, of which there are about a dozen.
        self.rows = gauge("rows", "Rows that a source gave.", "source")
        self.null_share = gauge("null_share", "Share of a source's rows without an id they need.", "source")
        self.orphan_share = gauge("orphan_share", "Share of a source's rows naming what is not there.", "source")
        self.duplicate_share = gauge("duplicate_share", "Share of interactions equal to another, time included.")
        self.largest_share = gauge("largest_share", "Share of all interactions that one user or post holds.", "node")
        self.high_degree = gauge("high_degree", "Interactions of a user or post, the 99.9th percentile.", "node")
        self.future_share = gauge("future_share", "Share of interactions or posts later than the snapshot.", "of")
        self.furthest_future = gauge("furthest_future_seconds", "How far the latest time lies past the snapshot.")
        self.untimed_share = gauge("untimed_share", "Share of interactions without a time.")
        self.textless_share = gauge("textless_share", "Share of posts with neither title nor body.")
        self.untagged_share = gauge("untagged_share", "Share of posts without a tag.")
        self.tags = gauge("tags", "Distinct names of tags.")
        self.tag_drift = gauge("tag_drift", "Share of tag names not shared with the last accepted night's.")
        self.contract_verdict = gauge(
            "contract_verdict", "A check of the data contract: 0 ok, 1 warning, 2 refused.", "check", "source"
        )
        self.contract_checks = gauge("contract_checks", "Checks of the data contract by verdict.", "verdict")
        self.contract_nights = gauge("contract_nights", "Accepted nights that this one was compared with.")
        # The reading.
        self.snapshot_age = gauge(
            "snapshot_age_seconds", "How long Postgres had to keep the snapshot, until the last row was read."
        )
        self.stage_seconds = gauge("stage_seconds", "Time of each stage of the night.", "stage")
        self.postgres_bytes = gauge("postgres_bytes", "Bytes that Postgres sent.")
        self.cache_bytes = gauge("cache_bytes", "Bytes of the cache in S3: read, written.", "direction")
        # The end.
        self.exit_code = gauge("exit_code", "How the night ended: 0 well, 3 refused by the data contract or the gate.")
        self.ended = gauge("ended_timestamp_seconds", "When the night ended, in seconds since the epoch.")

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


def exposition(registry: CollectorRegistry) -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(registry)
