"""What the worker exposes. Stages: queue_wait, decode, lookup, tokenize, infer, encode, reply; every second from the
queue's taking a request to its delivered reply belongs to one of them. They are those of answers only; how old messages
are, also those that were too old to be answered, is told by `delivery_age`. Finishers observe a batch at a time, each
under one lock for all of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

from waypost.metrics.declaring import ProcessMetrics, counter, gauge, histogram
from waypost.metrics.histogram import SECONDS_BUCKETS, ByModelVersion, ByOutcome

LOAD_BUCKETS = (*SECONDS_BUCKETS, 30.0, 60.0)  # loading may take WAYPOST_WORKER_LOAD_TIMEOUT_SECONDS
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # requests; WAYPOST_WORKER_BATCH is at most 256
SOURCES = ("graphsage", "popular")
OUTCOMES = ("answered", "expired", "rejected", "failed", "released", "duplicate")  # of a delivery


@dataclass(slots=True)
class Delivered:
    """A batch's answers of one source. Columns, because they are observed by the column; seconds of each answer."""

    source: str
    request_ids: list[str]
    queue_wait: list[float]
    decode: list[float]
    whole: list[float]  # from the queue's taking it to its delivered reply


class WorkerMetrics(ProcessMetrics):
    messages = counter(
        "waypost_worker_messages_total",
        "Deliveries by outcome: answered, expired, rejected, failed, released, duplicate.",
        "outcome",
        zeros=OUTCOMES,
    )
    dead_letters = counter("waypost_worker_dead_letters_total", "Messages sent to the dead-letter queue.")
    extensions = counter(
        "waypost_worker_extended_total", "Deliveries whose visibility was extended: their work was slow."
    )
    in_hand = gauge("waypost_worker_in_hand_requests", "Requests received and not done with.")
    answers = counter("waypost_worker_answers_total", "Answers by source.", "source", zeros=SOURCES)
    rejected = counter(
        "waypost_worker_rejected_total", "Deliveries that were dropped unanswered.", "reason",
        zeros=["BadSignature", "MalformedMessage", "ExpiredMessage"],
    )  # fmt: skip
    batch = histogram("waypost_worker_batch_requests", "Requests in one Triton call.", BATCH_BUCKETS)
    unavailable = counter(
        "waypost_worker_unavailable_total", "Calls that found a part unavailable.", "part",
        zeros=["triton", "queue", "gateway", "dead_letters"],
    )  # fmt: skip
    release = gauge("waypost_worker_release_info", "The served release.", "model_version")
    release_number = gauge(
        "waypost_worker_release_number",
        "The served release's integer as a value too, so that rules can tell the newest.",
        "model_version",
    )
    release_score = gauge(
        "waypost_worker_release_score", "A quality figure of the served release, from its night's holdout.", "score"
    )
    ready = gauge("waypost_worker_ready", "Whether a golden question was answered rightly a moment ago.")
    shown_posts = gauge(
        "waypost_worker_served_posts",
        "Distinct posts in answers since the release was loaded (within some percent).",
    )
    catalogue_posts = gauge("waypost_worker_catalogue_posts", "Posts that the served release can rank.")
    release_loads = counter(
        "waypost_worker_release_loads_total",
        "Releases tried: served, refused (not whole, or not loaded), given up (worse than the one before).",
        "outcome",
        zeros=["served", "refused", "given up"],
    )
    switches = counter(
        "waypost_worker_release_switches_total",
        "Times that another release began to answer: the first, a newer one, or an older one (rolled back).",
        "to",
        zeros=["first", "newer", "older"],
    )
    revivals = counter("waypost_worker_triton_revivals_total", "Times that Triton was made to answer again.")
    release_load = histogram(
        "waypost_worker_release_load_seconds", "Fetch, verify, load and golden questions of one release.", LOAD_BUCKETS
    )

    def __init__(self, observed: bool = True) -> None:
        """`observed` is false only to measure what observing each answer costs."""
        super().__init__()
        self.observed = observed
        self._answers = {source: self.answers.labels(source) for source in SOURCES}  # labels() locks and checks
        self._lock = threading.Lock()
        self._stage = ByModelVersion(
            "waypost_worker_stage_seconds", "Time of one answer in each stage.", "stage", self.registry, self._lock
        )
        self._request = ByModelVersion(
            "waypost_worker_request_seconds",
            "From the queue's taking a request to its delivered reply: the sum of its stages.",
            "source",
            self.registry,
            self._lock,
        )
        self._age = ByOutcome(
            "waypost_worker_delivery_age_seconds",
            "From the queue's taking a message to a worker's beginning to answer it, or to its leaving unanswered.",
            OUTCOMES,
            self.registry,
            self._lock,
        )

    def answered_so_far(self) -> float:
        """Since this process began."""
        samples = (sample for metric in self.answers.collect() for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    def answered(self, model_version: int | None, stages: Mapping[str, float], answers: Delivered) -> None:
        """One batch's answers by that release; `stages`: seconds that each of them spent in what all did together."""
        count = len(answers.request_ids)
        self._answers[answers.source].inc(count)
        if not self.observed or not count:
            return
        at, ids = time.monotonic(), answers.request_ids
        with self._lock:
            series = self._stage.of(model_version)
            for stage, spent in stages.items():
                series[stage].observe(spent, ids[-1], at, count)
            series["queue_wait"].observe_each(answers.queue_wait, ids, at)
            series["decode"].observe_each(answers.decode, ids, at)
            self._request.of(model_version)[answers.source].observe_each(answers.whole, ids, at)
            self._age["answered"].observe_each(answers.queue_wait, ids, at)

    def left(self, outcome: str, ages: Sequence[float], request_ids: Sequence[str] = ()) -> None:
        """Deliveries that were not answered, so many seconds after the queue had taken them. `request_ids`: of each,
        where they can be believed."""
        self.messages.labels(outcome).inc(len(ages))
        if not self.observed:
            return
        at, series = time.monotonic(), self._age[outcome]
        with self._lock:
            for age, request_id in zip(ages, request_ids or repeat(""), strict=False):
                series.observe(age, request_id, at)

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

    def switched(self, before: int | None, to: int) -> None:
        """Another release begins to answer; `before`: the one until now. The same one again is no switch."""
        if before != to:
            self.switches.labels("first" if before is None else "newer" if to > before else "older").inc()

    def forget_release(self, model_version: int) -> None:
        """The release is unloaded: its series go with it."""
        with self._lock:
            self._stage.forget(model_version)
            self._request.forget(model_version)
