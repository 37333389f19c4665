"""What the gateway exposes. Stages: validate, enqueue, wait, encode; observed when an answer is written, so that they
carry its release. Observed on the event loop only: no lock is taken, and a scrape in another thread loses nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from prometheus_client import Counter

from waypost import __version__
from waypost.metrics.declaring import ProcessMetrics, counter, gauge
from waypost.metrics.histogram import ByModelVersion

# Today's release and the one before, so that on-call can compare them; with 4 stages a process stays under 500 series.
MODEL_VERSIONS_KEPT = 2
_SOURCES = ("graphsage", "popular")


class GatewayMetrics(ProcessMetrics):
    requests = counter(
        "waypost_gateway_requests_total", "Requests to /recommend by status.", "code", "source",
        zeros=[("200", source) for source in _SOURCES] + [(code, "none") for code in ("429", "503")],
    )  # fmt: skip
    degraded = counter(
        "waypost_gateway_degraded_total", "Answers that the model should have ranked.", "cause",
        zeros=["timeout", "queue", "breaker", "reply", "error"],
    )  # fmt: skip
    replies = counter(
        "waypost_gateway_replies_total",
        "Replies by what became of them: used, late (or a repetition), rejected.",
        "outcome",
        zeros=["used", "late", "rejected"],
    )
    in_flight = gauge("waypost_gateway_in_flight_requests", "Requests that wait for their answer.")
    release = gauge("waypost_gateway_release_info", "The release of the popularity list.", "model_version")
    release_published = gauge(
        "waypost_gateway_release_published_timestamp_seconds",
        "When that release was made, in seconds since the epoch.",
        first=math.nan,
    )
    started = gauge(
        "waypost_gateway_started_timestamp_seconds",
        "When this process started, by its version: which version is the newer one.",
        "version",
    )
    ready = gauge("waypost_gateway_ready", "Whether it takes traffic.")
    queue = gauge(
        "waypost_gateway_queue_messages",
        "The request queue by the queue's own approximate count: visible, in_flight.",
        "state",
    )
    dead_letters = gauge(
        "waypost_gateway_dead_letter_messages",
        "Messages in the dead-letter queue by its own approximate count; NaN where it is not known.",
        first=math.nan,
    )
    key_changed = gauge(
        "waypost_gateway_key_timestamp_seconds",
        "When the file of keys last changed, in seconds since the epoch: message, api.",
        "key",
    )
    pointer_reads = counter(
        "waypost_gateway_pointer_reads_total", "Looks at the release pointer.", "outcome",
        zeros=["changed", "same", "failed"],
    )  # fmt: skip
    send_retries = counter("waypost_gateway_send_retries_total", "Messages that were sent a second time.")
    breaker_state = gauge("waypost_gateway_breaker_state", "Whether the queue is asked: 0 yes, 1 little, 2 no.")
    breaker_changes = counter(
        "waypost_gateway_breaker_changes_total", "Times that the breaker became: closed, recovering, open.", "state",
        zeros=["closed", "recovering", "open"],
    )  # fmt: skip

    def __init__(self, observed: bool = True) -> None:
        """`observed`: false where the cost of observing is measured; the series stay at 0."""
        super().__init__()
        self.observed = observed
        self._stage = ByModelVersion(
            "waypost_gateway_stage_seconds", "Time of one answer in each stage.", "stage", self.registry
        )
        self._request = ByModelVersion(
            "waypost_gateway_request_seconds", "From a whole request to its written answer.", "source", self.registry
        )
        self._counted: dict[tuple[str, str], Counter] = {}  # labels() locks and checks each name; this does not
        self._kept: list[int] = []  # the versions that answered last, the latest at the end
        self.started.labels(__version__).set(time.time())

    def counted(self, code: str, source: str = "none") -> None:
        """One request was answered with this status."""
        if not self.observed:
            return
        found = self._counted.get((code, source))
        if found is None:
            found = self._counted[code, source] = self.requests.labels(code, source)
        found.inc()

    def answered(
        self, model_version: int | None, source: str, stages: Mapping[str, float], seconds: float, request_id: str = ""
    ) -> None:
        """One answer is written: its seconds by stage and in all. `request_id`: its exemplar's."""
        if not self.observed:
            return
        if model_version is not None and self._kept[-1:] != [model_version]:
            self._make_room(model_version)
        at = time.monotonic()
        series = self._stage.of(model_version)
        for stage, spent in stages.items():
            series[stage].observe(spent, request_id, at)
        self._request.of(model_version)[source].observe(seconds, request_id, at)

    def _make_room(self, model_version: int) -> None:
        """The series of who answered longest ago go."""
        self._kept = [*(one for one in self._kept if one != model_version), model_version]
        for gone in self._kept[:-MODEL_VERSIONS_KEPT]:
            self._stage.forget(gone)
            self._request.forget(gone)
        self._kept = self._kept[-MODEL_VERSIONS_KEPT:]

    def holds_release(self, model_version: int, published: float = math.nan) -> None:
        """The popularity list is that of this release, made at that time (seconds since the epoch), and of no other."""
        self.release.clear()
        self.release.labels(str(model_version)).set(1)
        self.release_published.set(published)
