"""Memory, threads and sockets of gateway and worker under a steady load of every sort of request: flat, and a leak
planted in both is found by the same check. `make soak MINUTES=30`."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from bench.processes import OWN, started
from bench.request_path.loads import OURS, Loader
from bench.request_path.serving import Serving, serving

from tests.soak.flatness import Size, count_verdict, memory_trend, read_size, verdicts
from tests.soak.leaking import LEAKED_BYTES, leaking_environment

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
WARM_UP_MINUTES = min(5.0, MINUTES / 3)
LEAK_MINUTES, LEAK_WARM_UP_MINUTES = 3.0, 1.0  # a leak of 512 bytes a message is plain by then
SAMPLE_SECONDS = 2.0
CONCURRENCY = 32


def sampled(served: Serving, minutes: float, warm_up_minutes: float) -> dict[str, list[Size]]:
    """Sizes by process under load, those of the warm-up left out."""
    found: dict[str, list[Size]] = {part: [] for part in OURS}
    with started(OWN, "bench.request_path.generator") as generator:
        load = Loader(served, generator, varied=True)
        loading = threading.Thread(target=load.closed, args=(CONCURRENCY, 60 * minutes))
        loading.start()
        time.sleep(60 * warm_up_minutes)
        end = time.monotonic() + 60 * (minutes - warm_up_minutes) - SAMPLE_SECONDS
        while time.monotonic() < end:
            requests = answered(served)
            for part in OURS:
                found[part].append(read_size(served.pid(part), requests))
            time.sleep(SAMPLE_SECONDS)
        loading.join()
    return found


def answered(served: Serving) -> float:
    with urllib.request.urlopen(served.metrics_urls["gateway"], timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("waypost_gateway_requests_total{"))


def report(name: str, sizes: Mapping[str, Sequence[Size]]) -> None:
    for part, found in sizes.items():
        first, last = found[0], found[-1]
        print(
            f"\n{name}, {part}: {memory_trend(found)}, over {last.requests - first.requests:,.0f} requests;"
            f" {first.resident_bytes / 2**20:.1f} to {last.resident_bytes / 2**20:.1f} MiB,"
            f" {first.threads} to {last.threads} threads, {first.sockets} to {last.sockets} sockets",
            flush=True,
        )


@pytest.mark.soak
@pytest.mark.timeout(60 * (MINUTES + 15))
def test_gateway_and_worker_stay_as_large_as_they_are() -> None:
    with serving() as served:
        sizes = sampled(served, MINUTES, WARM_UP_MINUTES)
    report("as shipped", sizes)
    assert {part: verdicts(found) for part, found in sizes.items()} == {
        part: {"memory": "flat", "threads": "flat", "sockets": "flat"} for part in OURS
    }


@pytest.mark.soak
@pytest.mark.timeout(60 * (LEAK_MINUTES + 15))
def test_a_planted_leak_is_found_by_the_same_check(tmp_path: Path) -> None:
    with serving(leaking_environment(tmp_path)) as served:
        sizes = sampled(served, LEAK_MINUTES, LEAK_WARM_UP_MINUTES)
    report("with a leak planted", sizes)
    assert {part: verdicts(found) for part, found in sizes.items()} == {
        part: {"memory": "grows", "threads": "grows", "sockets": "grows"} for part in OURS
    }
    assert memory_trend(sizes["gateway"]).high > LEAKED_BYTES / 2


def sizes_of(slope: float, noise: float, count: int = 600, step: int = 0) -> list[Size]:
    """Two samples a second at 200 requests/s; memory rises by `slope` a request, and once by `step`."""
    choose = np.random.default_rng(0)
    requests = np.arange(count) * 100.0
    memory = 80e6 + slope * requests + choose.normal(0, noise, count) + step * (np.arange(count) > count / 2)
    return [Size(r, int(m), 20, 30) for r, m in zip(requests, memory, strict=True)]


@pytest.mark.parametrize(
    ("slope", "noise", "verdict"),
    [
        (0, 2e5, "flat"),
        (8, 2e5, "flat"),
        (-40, 2e5, "flat"),
        (24, 2e5, "grows"),
        (512, 2e6, "grows"),
        (0, 2e7, "unknown"),
    ],
)
def test_a_trend_is_told_from_noise(slope: float, noise: float, verdict: str) -> None:
    trend = memory_trend(sizes_of(slope, noise))
    assert trend.verdict == verdict
    assert trend.low < slope < trend.high


def test_a_single_step_of_the_allocator_is_no_leak() -> None:
    assert memory_trend(sizes_of(0, 1e5, step=300_000)).verdict == "flat"


@pytest.mark.parametrize(
    ("counts", "verdict"), [([20] * 50, "flat"), ([20, 23] * 25, "flat"), (list(range(20, 70)), "grows")]
)
def test_threads_that_come_and_go_are_no_leak_and_those_that_stay_are(counts: list[int], verdict: str) -> None:
    assert count_verdict(counts) == verdict
