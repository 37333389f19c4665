"""The worker's small door."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import urllib3

from tests.metrics.openmetrics import PROMETHEUS, parsed
from waypost.errors import SettingsError
from waypost.metrics import WorkerMetrics
from waypost.worker.health import HealthServer


@dataclass
class State:
    alive: bool = True
    ready: bool = True


@contextmanager
def a_server(state: State) -> Iterator[str]:
    server = HealthServer("127.0.0.1", 0, WorkerMetrics().registry, lambda: state.alive, lambda: state.ready)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def get(url: str, accept: str = "*/*") -> urllib3.BaseHTTPResponse:
    with urllib3.PoolManager(timeout=urllib3.Timeout(10), retries=False) as http:
        return http.request("GET", url, headers={"Accept": accept})


def test_liveness_and_readiness_say_what_is() -> None:
    state = State()
    with a_server(state) as url:
        assert (get(f"{url}/healthz").status, get(f"{url}/readyz").status) == (200, 200)
        state.ready = False
        assert (get(f"{url}/healthz").status, get(f"{url}/readyz").status) == (200, 503)
        state.alive = False
        assert get(f"{url}/healthz").status == 503


def test_metrics_are_on_the_same_port_and_nothing_else_is() -> None:
    with a_server(State()) as url:
        assert b"waypost_build_info" in get(f"{url}/metrics").data
        assert get(f"{url}/").status == 404


def test_who_asks_for_openmetrics_gets_it() -> None:
    with a_server(State()) as url:
        assert get(f"{url}/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
        answer = get(f"{url}/metrics", PROMETHEUS)
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "waypost_worker_stage_seconds" in parsed(answer.data.decode())


def test_a_port_that_is_taken_is_one_line() -> None:
    with a_server(State()) as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(SettingsError, match="set WAYPOST_WORKER_METRICS_PORT to a free one"):
            HealthServer("127.0.0.1", port, WorkerMetrics().registry, lambda: True, lambda: True)


def test_a_server_that_never_started_stops_too() -> None:
    HealthServer("127.0.0.1", 0, WorkerMetrics().registry, lambda: True, lambda: True).stop()
