"""Every metric of every process: `waypost_<process>_<what>_seconds|_total|_bytes`, declared here and nowhere else.

Classic histograms, because prometheus_client has no native ones; their buckets are finer than the slowness that
on-call wants to see. An id is never a label, and `model_version` is bounded: the series of a release that is no
longer served are removed.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily

from waypost import __version__

# No wider than 50 ms up to 300 ms, with the objective (0.25 s) as an edge; 10 s is the longest deadline.
SECONDS_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.5, 10.0)
LOAD_BUCKETS = (*SECONDS_BUCKETS, 30.0, 60.0)  # loading may take WAYPOST_WORKER_LOAD_TIMEOUT_SECONDS
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # requests; WAYPOST_WORKER_BATCH is at most 256
_EDGES = [str(edge) for edge in SECONDS_BUCKETS] + ["+Inf"]
NO_VERSION = "none"
# Today's release and the one before, so that on-call can compare them; with 7 stages a process stays under 500 series.
MODEL_VERSIONS_KEPT = 2

disable_created_metrics()  # type: ignore[no-untyped-call]  # a timestamp per series that nobody reads


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    build = Gauge("waypost_build_info", "The version of the code that runs.", ["version"], registry=registry)
    build.labels(__version__).set(1)
    ProcessCollector(registry=registry)  # memory, processor time, open files, start
    return registry


class _Buckets:
    """The counts of one series. Many equal observations cost what one costs, which `Histogram` has no way to do."""

    __slots__ = ("_lock", "counts", "sum")

    def __init__(self) -> None:
        self.counts, self.sum = [0] * (len(SECONDS_BUCKETS) + 1), 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: float, times: int) -> None:
        bucket = bisect_left(SECONDS_BUCKETS, seconds)
        with self._lock:
            self.counts[bucket] += times
            self.sum += seconds * times

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """(upper edge, how many up to it) of each bucket, and the sum."""
        with self._lock:
            counts, total = list(accumulate(self.counts)), self.sum
        return list(zip(_EDGES, map(float, counts), strict=True)), total


class _ByModelVersion:
    """A histogram with a model_version label, that of the code behind it."""

    def __init__(self, name: str, what: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name, self._what, self._labels = name, what, (*labels, "model_version", "version")
        self._series: dict[tuple[str, ...], _Buckets] = {}
        registry.register(self)

    def observe(self, seconds: float, *labels: str, times: int = 1) -> None:
        """The model version is the last label; so many answers took so long."""
        series = self._series.get(labels)
        if series is None:
            series = self._series.setdefault(labels, _Buckets())
        series.observe(seconds, times)

    def forget(self, model_version: str) -> None:
        for labels in [labels for labels in tuple(self._series) if labels[-1] == model_version]:
            self._series.pop(labels, None)

    def describe(self) -> list[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._what, labels=self._labels)]

    def collect(self) -> list[HistogramMetricFamily]:
        (family,) = self.describe()
        for labels, series in sorted(self._series.items()):
            buckets, total = series.cumulative()
            family.add_metric([*labels, __version__], buckets, total)
        return [family]


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


def _from_zero(metric: Counter, *values: str) -> None:
    """So that a first event is an increase, which a series that begins with it would not show."""
    for value in values:
        metric.labels(value)


class GatewayMetrics:
    """Stages: validate, enqueue, wait, encode."""

    def __init__(self, observed: bool = True) -> None:
        """`observed`: false where the cost of observing is measured; the series stay at 0."""
        self.registry = registry = _registry()
        self._observed = observed
        self._counted: dict[tuple[str, str], Counter] = {}  # labels() locks and checks each name; this does not
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
        self.release_published = Gauge(
            "waypost_gateway_release_published_timestamp_seconds",
            "When that release was made, in seconds since the epoch.",
            registry=registry,
        )
        self.release_published.set(math.nan)
        started = Gauge(
            "waypost_gateway_started_timestamp_seconds",
            "When this process started, by its version: which version is the newer one.",
            ["version"],
            registry=registry,
        )
        started.labels(__version__).set(time.time())
        self.ready = Gauge("waypost_gateway_ready", "Whether it takes traffic.", registry=registry)
        self.queue = Gauge(
            "waypost_gateway_queue_messages",
            "The request queue by the queue's own approximate count: visible, in_flight.",
            ["state"],
            registry=registry,
        )
        self.key_changed = Gauge(
            "waypost_gateway_key_timestamp_seconds",
            "When the file of keys last changed, in seconds since the epoch: message, api.",
            ["key"],
            registry=registry,
        )
        self.pointer_reads = Counter(
            "waypost_gateway_pointer_reads_total", "Looks at the release pointer.", ["outcome"], registry=registry
        )
        self.send_retries = Counter(
            "waypost_gateway_send_retries_total", "Messages that were sent a second time.", registry=registry
        )
        self.breaker_state = Gauge(
            "waypost_gateway_breaker_state", "Whether the queue is asked: 0 yes, 1 little, 2 no.", registry=registry
        )
        self.breaker_changes = Counter(
            "waypost_gateway_breaker_changes_total",
            "Times that the breaker became: closed, recovering, open.",
            ["state"],
            registry=registry,
        )

        _from_zero(self.degraded, "timeout", "queue", "breaker", "reply", "error")
        _from_zero(self.replies, "used", "late", "rejected")
        _from_zero(self.pointer_reads, "changed", "same", "failed")
        _from_zero(self.breaker_changes, "closed", "recovering", "open")
        for source in ("graphsage", "popular"):
            self.requests.labels("200", source)

    def counted(self, code: str, source: str = "none") -> None:
        """One request was answered with this status."""
        if not self._observed:
            return
        found = self._counted.get((code, source))
        if found is None:
            found = self._counted[code, source] = self.requests.labels(code, source)
        found.inc()

    def answered(self, model_version: int | None, source: str, stages: Mapping[str, float], seconds: float) -> None:
        if not self._observed:
            return
        label = version_label(model_version)
        self._make_room(label)
        for stage, spent in stages.items():
            self._stage.observe(spent, stage, label)
        self._request.observe(seconds, source, label)

    def _make_room(self, label: str) -> None:
        if (gone := self._versions.pushed_out_by(label)) is not None:
            self._stage.forget(gone)
            self._request.forget(gone)

    def holds_release(self, model_version: int, published: float = math.nan) -> None:
        """The popularity list is that of this release, made at that time (seconds since the epoch), and of no other."""
        self.release.clear()
        self.release.labels(str(model_version)).set(1)
        self.release_published.set(published)


class WorkerMetrics:
    """Stages: queue_wait, decode, lookup, tokenize, infer, encode, reply."""

    def __init__(self, observed: bool = True) -> None:
        """`observed` is false only to measure what observing each answer costs."""
        self.observed = observed
        self.registry = registry = _registry()
        self._stage = _ByModelVersion(
            "waypost_worker_stage_seconds", "Time of one answer in each stage.", ("stage",), registry
        )
        self._request = _ByModelVersion(
            "waypost_worker_request_seconds",
            "From the queue's taking a request to its delivered reply: the sum of its stages.",
            ("source",),
            registry,
        )
        self.messages = Counter(
            "waypost_worker_messages_total",
            "Deliveries by outcome: answered, expired, rejected, failed, released, duplicate.",
            ["outcome"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "waypost_worker_dead_letters_total", "Messages sent to the dead-letter queue.", registry=registry
        )
        self.extensions = Counter(
            "waypost_worker_extended_total",
            "Deliveries whose visibility was extended: their work was slow.",
            registry=registry,
        )
        self.in_hand = Gauge(
            "waypost_worker_in_hand_requests", "Requests received and not done with.", registry=registry
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
        self.release_number = Gauge(
            "waypost_worker_release_number",
            "The served release's integer as a value too, so that rules can tell the newest.",
            ["model_version"],
            registry=registry,
        )
        self.release_score = Gauge(
            "waypost_worker_release_score",
            "A quality figure of the served release, from its night's holdout.",
            ["score"],
            registry=registry,
        )
        self.ready = Gauge(
            "waypost_worker_ready", "Whether a golden question was answered rightly a moment ago.", registry=registry
        )
        self.shown_posts = Gauge(
            "waypost_worker_served_posts",
            "Distinct posts in answers since the release was loaded (within some percent).",
            registry=registry,
        )
        self.catalogue_posts = Gauge(
            "waypost_worker_catalogue_posts", "Posts that the served release can rank.", registry=registry
        )
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
        _from_zero(self.messages, "answered", "expired", "rejected", "failed", "released", "duplicate")
        _from_zero(self.answers, "graphsage", "popular")
        _from_zero(self.rejected, "BadSignature", "MalformedMessage", "ExpiredMessage")
        _from_zero(self.unavailable, "triton", "queue", "gateway", "dead_letters")
        _from_zero(self.release_loads, "served", "refused", "given up")

    def answered_so_far(self) -> float:
        """Since this process began."""
        samples = (sample for metric in self.answers.collect() for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    def answered(self, model_version: int | None, stages: Mapping[str, float], answers: int = 1) -> None:
        """So many answers of that release, each of which spent that time in each of these stages."""
        if not self.observed:
            return
        label = version_label(model_version)
        for stage, spent in stages.items():
            self._stage.observe(spent, stage, label, times=answers)

    def replied(self, model_version: int | None, source: str, seconds: float) -> None:
        """One answer's whole time in queue and worker."""
        if self.observed:
            self._request.observe(seconds, source, version_label(model_version))

    def serves_release(self, model_version: int, posts: int = 0, scores: Mapping[str, float] | None = None) -> None:
        """This release answers from now on: so many posts, and the figures of its night."""
        self.release.clear()
        self.release_number.clear()
        self.release_score.clear()
        self.release.labels(str(model_version)).set(1)
        self.release_number.labels(str(model_version)).set(model_version)
        self.catalogue_posts.set(posts)
        for score, value in (scores or {}).items():
            self.release_score.labels(score).set(value)

    def forget_release(self, model_version: int) -> None:
        """The release is unloaded: its series go with it."""
        self._stage.forget(str(model_version))
        self._request.forget(str(model_version))


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
