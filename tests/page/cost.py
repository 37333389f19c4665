"""What the page costs a gateway, in CPU: `python -m tests.page.cost`. Two releases' series, half an hour of looks."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from waypost.clock import ManualClock
from waypost.gateway.page.neighbours import Neighbours
from waypost.gateway.page.releases import ReleaseReader
from waypost.gateway.page.watcher import LOOK_SECONDS, Watcher
from waypost.key_types import INTEGER_KEYS
from waypost.metrics import GatewayMetrics, WorkerMetrics
from waypost.metrics.worker import Delivered
from waypost.objects.memory import MemoryObjectStore
from waypost.worker.health import HealthServer

LOOKS, MEASURED = 360, 50
GATEWAY = dict.fromkeys(("validate", "enqueue", "wait", "encode"), 0.003)
WORKER = dict.fromkeys(("lookup", "tokenize", "infer", "encode", "reply"), 0.003)


def main() -> None:
    gateway, worker, clock = GatewayMetrics(), WorkerMetrics(), ManualClock()
    door = HealthServer("127.0.0.1", 0, worker.registry, lambda: True, lambda: True)
    door.start()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "worker.json").write_text(json.dumps({"metrics_url": f"{door.url}/metrics"}))
        watcher = Watcher(
            gateway.registry, Neighbours(Path(folder)), ReleaseReader(MemoryObjectStore()), lambda: INTEGER_KEYS, clock
        )

        def pass_time() -> None:
            for version in (1, 2):
                gateway.answered(version, "graphsage", GATEWAY, 0.05, "r")
                worker.answered(version, WORKER, Delivered("graphsage", ["r"], [0.02], [0.001], [0.04]))
            clock.sleep(LOOK_SECONDS)

        for _ in range(LOOKS):
            pass_time()
            watcher.look()
        looks, figures = [], []
        for _ in range(MEASURED):
            pass_time()
            looks.append(cpu_seconds(watcher.look))
            figures.append(cpu_seconds(lambda: orjson.dumps(watcher.figures())))
    door.stop()
    for name, seconds in (("a look", looks), ("the figures", figures)):
        print(f"{name}: {1_000 * statistics.median(seconds):.1f} ms of CPU")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


if __name__ == "__main__":
    main()
