"""Our histogram against the official client's, under threads, and its exemplars as OpenMetrics parsers read them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.samples import Exemplar

from tests.metrics.openmetrics import PROMETHEUS, samples_of
from waypost import __version__
from waypost.metrics import SECONDS_BUCKETS, Delivered, GatewayMetrics, WorkerMetrics, exposition, negotiated
from waypost.metrics.histogram import ByModelVersion

STAGES = {"validate": 0.0001, "enqueue": 0.02, "wait": 0.03, "encode": 0.0002}
SHARED = {"lookup": 0.001, "infer": 0.03}
THREADS, BATCHES, BATCH = 6, 300, 5


def exemplars_of(registry: CollectorRegistry, name: str, **labels: str) -> dict[str, Exemplar]:
    """By the upper edge of the bucket."""
    samples = samples_of(registry, name)
    return {s.labels["le"]: s.exemplar for s in samples if s.exemplar and labels.items() <= s.labels.items()}


def test_it_counts_as_the_official_histogram_does() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = ByModelVersion("a_seconds", "What.", "stage", ours)
    official = Histogram(
        "a_seconds", "What.", ["stage", "model_version", "version"], buckets=SECONDS_BUCKETS, registry=theirs
    )
    choose = random.Random(7)
    edges = [*SECONDS_BUCKETS, *(choose.expovariate(20) for _ in range(500)), 0.0, 60.0]
    for seconds in edges:
        histogram.of(7)["infer"].observe(seconds, "", 0.0)
        official.labels("infer", "7", __version__).observe(seconds)
    assert sorted(exposition(ours).decode().splitlines()) == sorted(exposition(theirs).decode().splitlines())


def test_equal_observations_count_as_often_as_they_were() -> None:
    registry = CollectorRegistry()
    ByModelVersion("a_seconds", "What.", "stage", registry).of(None)["infer"].observe(0.02, "", 0.0, 12)
    labels = {"stage": "infer", "model_version": "none", "version": __version__}
    assert registry.get_sample_value("a_seconds_count", labels) == 12
    assert registry.get_sample_value("a_seconds_sum", labels) == pytest.approx(0.24)


def test_nothing_is_lost_or_counted_twice_while_finishers_observe_and_scrapes_read() -> None:
    metrics = WorkerMetrics()
    delivered = Delivered("graphsage", ["a-request"] * BATCH, [0.01] * BATCH, [0.001] * BATCH, [0.05] * BATCH)

    def observe() -> None:
        for _ in range(BATCHES):
            metrics.answered(7, SHARED, delivered)

    counts = _scraped_while([observe] * THREADS, lambda: _count(metrics, "waypost_worker_request_seconds", "source"))
    assert counts == sorted(counts)
    assert counts[-1] == THREADS * BATCHES * BATCH
    for stage, seconds in {**SHARED, "queue_wait": 0.01, "decode": 0.001}.items():
        labels = {"stage": stage, "model_version": "7", "version": __version__}
        total = metrics.registry.get_sample_value("waypost_worker_stage_seconds_sum", labels)
        assert total == pytest.approx(counts[-1] * seconds)
        assert metrics.registry.get_sample_value("waypost_worker_stage_seconds_count", labels) == counts[-1]


def test_nothing_is_lost_or_counted_twice_while_the_gateways_loop_observes_and_scrapes_read() -> None:
    metrics = GatewayMetrics()

    def observe() -> None:
        for _ in range(THREADS * BATCHES * BATCH):
            metrics.answered(7, "graphsage", STAGES, 0.05, "a-request")

    counts = _scraped_while([observe], lambda: _count(metrics, "waypost_gateway_request_seconds", "source"))
    assert counts == sorted(counts)
    assert counts[-1] == THREADS * BATCHES * BATCH
    total = metrics.registry.get_sample_value(
        "waypost_gateway_request_seconds_sum", {"source": "graphsage", "model_version": "7", "version": __version__}
    )
    assert total == pytest.approx(counts[-1] * 0.05)


def _scraped_while(works: list[Callable[[], None]], scrape: Callable[[], float]) -> list[float]:
    """What scrapes found while the work was done in threads, and once more after it."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    found = []
    while any(thread.is_alive() for thread in threads):
        found.append(scrape())
    return [*found, scrape()]


def _count(metrics: GatewayMetrics | WorkerMetrics, name: str, label: str) -> float:
    """As a scrape shows it; that every bucket leads to the next is the official parser's to say."""
    return sum(float(s.value) for s in samples_of(metrics.registry, f"{name}_count") if label in s.labels)


def test_the_latest_request_of_each_bucket_is_its_exemplar() -> None:
    metrics, began = GatewayMetrics(), time.time()
    for seconds, request_id in ((0.02, "first"), (0.021, "second"), (0.4, "slow")):
        metrics.answered(7, "graphsage", STAGES, seconds, request_id)
    found = exemplars_of(metrics.registry, "waypost_gateway_request_seconds_bucket", source="graphsage")
    assert {edge: one.labels["request_id"] for edge, one in found.items()} == {"0.025": "second", "0.5": "slow"}
    assert found["0.5"].value == 0.4
    assert began - 1 <= float(found["0.5"].timestamp or 0) <= time.time() + 1
    of_stage = exemplars_of(metrics.registry, "waypost_gateway_stage_seconds_bucket", stage="wait")
    assert [one.labels for one in of_stage.values()] == [{"request_id": "slow"}]


def test_each_request_of_a_workers_batch_may_be_an_exemplar_of_its_own_time() -> None:
    metrics = WorkerMetrics()
    metrics.answered(7, SHARED, Delivered("graphsage", ["slow", "fast"], [0.2, 0.02], [0.001, 0.001], [0.4, 0.1]))
    waits = exemplars_of(metrics.registry, "waypost_worker_stage_seconds_bucket", stage="queue_wait")
    assert {edge: one.labels["request_id"] for edge, one in waits.items()} == {"0.025": "fast", "0.2": "slow"}
    infer = exemplars_of(metrics.registry, "waypost_worker_stage_seconds_bucket", stage="infer")
    assert [one.labels["request_id"] for one in infer.values()] == ["fast"]  # one of those that shared the call


def test_plain_text_has_no_exemplars_and_the_same_figures() -> None:
    metrics = GatewayMetrics()
    metrics.answered(7, "graphsage", STAGES, 0.02, "a-request")
    plain, content_type = negotiated(metrics.registry, "text/plain")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"a-request" not in plain
    body, content_type = negotiated(metrics.registry, PROMETHEUS)
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    without = [line.split(" # ")[0] for line in body.decode().splitlines() if not line.startswith("#")]
    ours = [line for line in without if line.startswith("waypost_gateway_request_seconds")]
    assert ours
    assert set(ours) <= set(plain.decode().splitlines())


@pytest.mark.parametrize("metrics", [GatewayMetrics, WorkerMetrics])
def test_a_process_that_does_not_observe_shows_its_series_at_zero(
    metrics: type[GatewayMetrics | WorkerMetrics],
) -> None:
    off = metrics(observed=False)
    if isinstance(off, GatewayMetrics):
        off.answered(7, "graphsage", STAGES, 0.02, "a-request")
        off.counted("200", "graphsage")
    else:
        off.answered(7, SHARED, Delivered("graphsage", ["a-request"], [0.2], [0.001], [0.4]))
    text = exposition(off.registry).decode()
    assert "_seconds_bucket{model_version" not in text
    assert "a-request" not in text
