"""A hundred releases in a row under load, twenty of them bad; and a rollback under load."""

from __future__ import annotations

import itertools
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.soak.breakage import BREAKAGES, GARBAGE, SLOW, SLOW_VERSION_SECONDS, TENSORS, Publisher
from tests.soak.load import Load, Watch, eventually, is_well, resident_bytes
from waypost.clock import SystemClock
from waypost.local.layout import Layout, PartName
from waypost.local.serving import read_published
from waypost.local.stack import down, up, up_serving
from waypost.local.supervisor import Supervisor
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.moves import roll_back
from waypost.release.pointer import read_pointer
from waypost.release.signing import load_signing_key
from waypost.settings import LocalSettings, Part, read_settings, read_shared

RELEASES, EACH_BAD = 100, 5  # every fifth is bad
SLOW_VERSION = 5 * (1 + list(BREAKAGES).index(SLOW))
SETTLED_SECONDS = 60.0
ROLLBACK_SECONDS = 10.0
MEASURED: tuple[PartName, ...] = ("triton", "worker")
GROWTH = 1.25  # of memory between the twentieth release and the last
USERS: list[int] = TENSORS.user_ids[np.unique(TENSORS.interactions.user)].tolist()  # who have a history

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]


@dataclass(frozen=True)
class Stack:
    folder: Path
    gateway: str
    worker_metrics: str
    publisher: Publisher

    @property
    def probes(self) -> list[str]:
        return [f"{self.gateway}/readyz", f"{self.worker_metrics.removesuffix('/metrics')}/readyz"]

    def metric(self, name: str) -> dict[str, float]:
        """Of the worker, by labels."""
        with urllib.request.urlopen(self.worker_metrics, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {
            line[len(name) :].rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(name) and line[len(name)] in " {"
        }

    def served(self) -> int:
        found = self.metric("waypost_worker_release_info")
        return int(next(iter(found)).split('"')[1]) if found else 0

    def failures(self) -> float:
        loads = self.metric("waypost_worker_release_loads_total")
        return sum(count for labels, count in loads.items() if "served" not in labels)

    def await_served(self, version: int) -> None:
        eventually(lambda: self.served() == version, SETTLED_SECONDS, f"version {version} served")

    def await_failure(self, after: float, name: str) -> None:
        eventually(lambda: self.failures() > after, SETTLED_SECONDS, f"{name} found")

    def memory(self) -> dict[str, int]:
        supervisor = Supervisor(Layout.of(self.folder))
        found = {}
        for part in MEASURED:
            leader = supervisor.read_leader(part)
            assert leader is not None, f"{part} is gone"
            found[part] = resident_bytes(leader.process.pid)
        return found


QUICK_TRIALS = {
    "WAYPOST_WORKER_CANARY_SHARE": "0.3",
    "WAYPOST_WORKER_CANARY_ANSWERS": "60",
    "WAYPOST_WORKER_CANARY_SECONDS": "15",
    "WAYPOST_WORKER_HOLD_SECONDS": "20",
}


@contextmanager
def serving(local_dir: Path, **settings: str) -> Iterator[Stack]:
    """A gateway and a worker on real parts, serving a first release."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WAYPOST_", "AWS_"))}
    parts: tuple[Part, ...] = ("s3", "sqs", "triton")
    embedded = up(local_dir, read_settings(LocalSettings, {}), read_shared({}), parts)
    up_serving(local_dir, inherited | QUICK_TRIALS | settings)
    try:
        layout = Layout.of(local_dir)
        gateway, worker = read_published(layout, "gateway"), read_published(layout, "worker")
        assert gateway is not None
        assert worker is not None
        store = S3ObjectStore(s3_client(embedded.aws()), embedded.bucket)
        publisher = Publisher(store, load_signing_key(Path(embedded.signing_key_file)))
        publisher.good(1)
        stack = Stack(local_dir, gateway.url, worker.metrics_url, publisher)
        eventually(lambda: all(is_well(probe) for probe in stack.probes), SETTLED_SECONDS, "ready")
        yield stack
    finally:
        down(local_dir)


@pytest.fixture
def served(local_dir: Path) -> Iterator[Stack]:
    """As an operator runs it, but for shorter trials."""
    with serving(local_dir) as stack:
        yield stack


@pytest.fixture
def hurried(local_dir: Path) -> Iterator[Stack]:
    """It looks at the pointer often, for many releases in a short time; one of them is made slow."""
    fault = f"infer:{int(1_000 * SLOW_VERSION_SECONDS)}:{SLOW_VERSION}"
    hurry = {"WAYPOST_WORKER_POINTER_SECONDS": "0.25", "WAYPOST_FAULTS": fault, "WAYPOST_FAULTS_ALLOWED": "yes"}
    with serving(local_dir, **hurry) as stack:
        yield stack


def test_a_hundred_releases_in_a_row_under_load(hurried: Stack) -> None:
    bad = itertools.cycle(BREAKAGES.items())
    good_versions, memory, told = {1}, list[dict[str, int]](), list[str]()
    with Load(hurried.gateway, USERS) as load, Watch(hurried.probes) as watch:
        for version in range(2, RELEASES + 1):
            started = time.monotonic()
            if version % EACH_BAD:
                hurried.publisher.good(version)
                good_versions.add(version)
                hurried.await_served(version)
                print(f"release {version}: served after {time.monotonic() - started:.1f} s", flush=True)
            else:
                name, breakage = next(bad)
                failures = hurried.failures()
                breakage(hurried.publisher, version)
                if name == GARBAGE:
                    time.sleep(2)  # nothing is tried then
                else:
                    hurried.await_failure(failures, name)
                assert hurried.served() in good_versions
                told.append(name)
                print(f"release {version}: {name}: refused after {time.monotonic() - started:.1f} s", flush=True)
            memory.append(hurried.memory())
    _report(load, watch, told, memory)
    unexplained = [
        one for one in load.without_model() if one.status != 200 or one.seconds < 0.9 * load.deadline_ms / 1e3
    ]
    assert unexplained == []
    assert watch.lost == [], f"of {watch.asked} probes"
    assert len(told) == len(BREAKAGES), "every breakage had its turn"
    for part in MEASURED:
        assert memory[-1][part] < GROWTH * memory[18][part], f"{part} grows"


def _report(load: Load, watch: Watch, told: list[str], memory: list[dict[str, int]]) -> None:
    print(f"\n{len(load.outcomes):,} requests: {dict(load.kinds())}; p99 {1e3 * load.p99():.0f} ms")
    print(
        f"without the model: {len(load.without_model())}, all after their deadline of {load.deadline_ms} ms or listed:"
    )
    for one in load.without_model()[:20]:
        print(f"  {one}")
    print(f"{watch.asked:,} probes of readiness, {len(watch.lost)} not well")
    print(f"{len(told)} bad releases: {', '.join(told)}")
    for part in MEASURED:
        sizes = [round(one[part] / 2**20) for one in memory]
        print(f"memory of {part}, MiB, every tenth release: {sizes[::10]} and at last {sizes[-1]}")


def test_a_rollback_under_load_takes_effect_within_ten_seconds(served: Stack) -> None:
    served.publisher.good(2)
    with Load(served.gateway, USERS) as load:
        eventually(lambda: served.served() == 2, SETTLED_SECONDS, "2 served")
        time.sleep(2)
        assert load.versions_since(time.monotonic() - 1) == {2}
        moved = time.monotonic()
        roll_back(served.publisher.store, None, "soak", "a test", SystemClock())
        seconds = eventually(
            lambda: load.versions_since(time.monotonic() - 0.3) == {1}, SETTLED_SECONDS, "only old answers"
        )
        time.sleep(1)
    since = [one for one in load.outcomes if one.at >= moved]
    last_new = max((one.at - moved for one in since if one.version == 2), default=0.0)
    print(
        f"\nrollback: last answer of the new release after {last_new:.2f} s, only old ones seen after {seconds:.2f} s"
    )
    print(f"{len(since)} requests meanwhile, {len(load.without_model())} of all without the model")
    held = read_pointer(served.publisher.store)
    assert held is not None
    assert held.pointer.how == "rollback"
    assert last_new < ROLLBACK_SECONDS
    assert load.without_model() == []
