"""Figures: what the page shows, from the record of the stages and the latest looks at gateway and worker. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from waypost import __version__
from waypost.gateway.page.exposition import Sample, label_of, one_value
from waypost.gateway.page.histograms import Counts, together
from waypost.gateway.page.record import KEPT_SECONDS, NO_RELEASE, REQUEST, Record, Series, Sums
from waypost.gateway.page.releases import Releases
from waypost.gateway.page.slowness import ENOUGH, PATH, Stage, growth_of, judge
from waypost.gateway.page.troubles import OBJECTIVE_SECONDS, Traffic, troubles, with_troubles
from waypost.key_types import KeyTypes

NOW_SECONDS = 120.0  # the last minutes: long enough for a p99 at a request a second, short enough to see a change
_GATEWAY, _WORKER = "waypost_gateway_", "waypost_worker_"
GATEWAY_NAMES = (
    f"{_GATEWAY}stage_seconds_bucket", f"{_GATEWAY}request_seconds_bucket", f"{_GATEWAY}queue_messages",
    f"{_GATEWAY}in_flight_requests", f"{_GATEWAY}release_info", f"{_GATEWAY}ready", f"{_GATEWAY}breaker_state",
)  # fmt: skip
WORKER_NAMES = (
    f"{_WORKER}stage_seconds_bucket", f"{_WORKER}request_seconds_bucket", f"{_WORKER}release_info", f"{_WORKER}ready",
    f"{_WORKER}in_hand_requests", f"{_WORKER}served_posts", f"{_WORKER}catalogue_posts",
)  # fmt: skip


@dataclass(frozen=True)
class Looks:
    """What the latest looks found; `worker` is None where it did not answer, and `worker_trouble` says why."""

    gateway: Sequence[Sample] = ()
    worker: Sequence[Sample] | None = None
    worker_trouble: str | None = None
    releases: Releases = field(default_factory=Releases)


def figures(record: Record, looks: Looks, key_types: KeyTypes, monotonic: float, wall: float) -> dict[str, Any]:
    """Everything that the page shows, as JSON. Times are in seconds, `wall` since the epoch."""
    release = served_release(looks)
    before = record.before(release)
    now = record.between(monotonic - NOW_SECONDS, monotonic)
    past = record.between(monotonic - KEPT_SECONDS, monotonic - NOW_SECONDS)
    stages = [
        Stage(
            process,
            name,
            now=now.get(Series(process, name, release or NO_RELEASE)),
            earlier=past.get(Series(process, name, release or NO_RELEASE)),
            before=record.ever(process, name, before) if before else None,
            half_hour=_of_all_releases(past, process, name),
        )
        for process, name in PATH
    ]
    traffic, worker, queue = _traffic_of(now), _worker(looks), _queue(looks)
    wrong = troubles(traffic, worker["ready"], worker["trouble"], queue["breaker"])
    return {
        "at": wall,
        "code_version": __version__,
        "keys": {"user": key_types.user, "post": key_types.post},
        "now_seconds": NOW_SECONDS,
        "finest_seconds": _finest(now),
        "few": ENOUGH,  # figures of fewer requests than this are marked
        "release": looks.releases.served,
        "release_before": looks.releases.before,
        "night": looks.releases.night,
        "release_trouble": looks.releases.trouble,
        "answers_by": release,
        "compared_with": before,
        "verdict": asdict(with_troubles(judge(stages, release, before), wrong)),
        "stages": [_shown(stage) for stage in stages],
        "traffic": _traffic(traffic),
        "queue": queue,
        "worker": worker,
    }


def served_release(looks: Looks) -> str | None:
    """The model version that answers: the worker's, else the one whose popular posts the gateway holds."""
    by_worker = label_of(looks.worker or (), f"{_WORKER}release_info", "model_version")
    return by_worker or label_of(looks.gateway, f"{_GATEWAY}release_info", "model_version")


def _traffic_of(now: Sums) -> Traffic:
    degraded = now.get(Series("gateway", REQUEST, NO_RELEASE))
    by_model = {series: counts for series, counts in now.items() if series.model_version != NO_RELEASE}
    return Traffic(_of_all_releases(by_model, "gateway", REQUEST), degraded.total if degraded else 0.0)


def _traffic(traffic: Traffic) -> dict[str, Any]:
    """Of the last minutes: seconds at p50 and p99 of the model's answers, and shares of all: degraded, and good (by the
    model within the objective)."""
    return {
        **_quantiles(traffic.by_model),
        "requests": traffic.total,
        "per_second": traffic.total / NOW_SECONDS,
        "degraded": traffic.degraded_share,
        "objective": OBJECTIVE_SECONDS,
        "good": traffic.good,
        "met": traffic.met,
        "few": traffic.is_few,
    }


def _finest(sums: Sums) -> float:
    """The first edge of the histograms, seconds: below it a quantile is only known to be below."""
    return min((counts.edges[0] for counts in sums.values()), default=0.0)


def _of_all_releases(sums: Sums, process: str, stage: str) -> Counts | None:
    return together([counts for series, counts in sums.items() if (series.process, series.stage) == (process, stage)])


def _shown(stage: Stage) -> dict[str, Any]:
    grown = growth_of(stage)
    return {
        "process": stage.process,
        "stage": stage.name,
        "holds_the_worker": (stage.process, stage.name) == ("gateway", "wait"),
        "now": _quantiles(stage.now),
        "before": _quantiles(stage.before),
        "half_hour": _quantiles(stage.half_hour),
        "grown": None if grown is None else grown.seconds,
    }


def _quantiles(counts: Counts | None) -> dict[str, Any]:
    if counts is None:
        return {"p50": None, "p99": None, "count": 0}
    return {"p50": counts.quantile(0.5), "p99": counts.quantile(0.99), "count": counts.total}


def _queue(looks: Looks) -> dict[str, Any]:
    return {
        "waiting": one_value(looks.gateway, f"{_GATEWAY}queue_messages", state="visible"),
        "in_flight": one_value(looks.gateway, f"{_GATEWAY}queue_messages", state="in_flight"),
        "requests_in_gateway": one_value(looks.gateway, f"{_GATEWAY}in_flight_requests"),
        "breaker": one_value(looks.gateway, f"{_GATEWAY}breaker_state"),
    }


def _worker(looks: Looks) -> dict[str, Any]:
    samples = looks.worker or ()
    return {
        "answers": looks.worker is not None,
        "trouble": looks.worker_trouble,
        "ready": one_value(samples, f"{_WORKER}ready"),
        "in_hand": one_value(samples, f"{_WORKER}in_hand_requests"),
        "shown_posts": one_value(samples, f"{_WORKER}served_posts"),
        "catalogue_posts": one_value(samples, f"{_WORKER}catalogue_posts"),
    }
