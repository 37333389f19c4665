"""Stages, faults on purpose, and the bounds of the metrics made of them."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from waypost import __version__
from waypost.clock import ManualClock
from waypost.faults import NO_FAULT, parse_fault
from waypost.metrics import SECONDS_BUCKETS, Delivered, WorkerMetrics, exposition
from waypost.stages import StageTimer

STAGES = ("queue_wait", "decode", "lookup", "tokenize", "infer", "encode", "reply")
A_REPLY = Delivered("graphsage", ["a-request"], [0.01], [0.001], [0.05])
A_POPULAR_REPLY = Delivered("popular", ["another"], [0.01], [0.001], [0.05])


def test_a_stage_adds_up_its_blocks_however_they_end() -> None:
    clock = ManualClock()
    stages = StageTimer(clock=clock)
    with stages.time("infer"):
        clock.sleep(0.5)
    with contextlib.suppress(ValueError), stages.time("infer"):
        clock.sleep(0.25)
        raise ValueError
    with stages.time("encode"):
        clock.sleep(0.125)
    assert stages.seconds == {"infer": 0.75, "encode": 0.125}


def test_a_fault_is_part_of_its_stage() -> None:
    clock = ManualClock()
    stages = StageTimer(7, parse_fault("infer:120:7"), clock)
    for stage in ("lookup", "infer"):
        with stages.time(stage):
            clock.sleep(0.0)
    assert stages.seconds == {"lookup": 0.0, "infer": pytest.approx(0.12)}


@pytest.mark.parametrize(
    ("fault", "stage", "version", "seconds"),
    [
        ("infer:120:7", "infer", 7, 0.12),
        ("infer:120:7", "infer", 8, 0.0),
        ("infer:120:7", "infer", None, 0.0),
        ("infer:120:7", "reply", 7, 0.0),
        (f"infer:120:{__version__}", "infer", 8, 0.12),
        (f"infer:120:{__version__}", "infer", None, 0.12),
        (None, "infer", 7, 0.0),
    ],
)
def test_a_fault_strikes_one_stage_of_one_version_of_model_or_code(
    fault: str | None, stage: str, version: int | None, seconds: float
) -> None:
    assert parse_fault(fault).delay(stage, version) == seconds
    assert NO_FAULT.delay(stage, version) == 0.0


def test_a_worker_has_fewer_than_500_series_while_two_releases_meet() -> None:
    metrics = WorkerMetrics()
    for version in (7, 8):
        for reply in (A_REPLY, A_POPULAR_REPLY):
            metrics.answered(version, dict.fromkeys(STAGES[2:], 0.01), reply)
    for outcome in ("answered", "expired", "rejected", "failed", "released"):
        metrics.messages.labels(outcome).inc()
    assert len(series(metrics)) < 500
    assert not [line for line in series(metrics) if "_created" in line]


def test_the_series_of_an_unloaded_release_are_removed() -> None:
    metrics = WorkerMetrics()
    for version in (7, 8):
        metrics.serves_release(version)
        metrics.answered(version, {"infer": 0.01}, A_REPLY)
    metrics.forget_release(7)
    assert not [line for line in series(metrics) if 'model_version="7"' in line]
    assert [line for line in series(metrics) if 'model_version="8"' in line]
    metrics.answered(7, {"infer": 0.01}, A_REPLY)  # rolled back to
    assert [line for line in series(metrics) if 'model_version="7"' in line]


def test_the_buckets_show_50_ms_up_to_300_ms_and_have_the_objective_as_an_edge() -> None:
    edges = [edge for edge in (0.0, *SECONDS_BUCKETS) if edge <= 0.3]
    assert max(high - low for low, high in itertools.pairwise(edges)) <= 0.05 + 1e-9
    assert {0.25, 0.3} <= set(edges)


def series(metrics: WorkerMetrics) -> list[str]:
    lines = exposition(metrics.registry).decode().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
