"""A gateway process that is told to stop under load: not ready first, nothing it accepted is lost, then it is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from .conftest import eventually

# In place of SQS a queue in memory, which nobody reads: every request is in flight until just before its deadline.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.gateway.conftest import KEYRING, publish_release
from waypost.faults import NO_FAULT
from waypost.gateway.keys import ApiKeys
from waypost.gateway.run import Outside, bind_all, loop_factory, serve_until_signal
from waypost.objects.memory import MemoryObjectStore
from waypost.queueing.memory import MemoryQueue
from waypost.release.signing import NO_KEYS
from waypost.settings import GatewaySettings

settings, store = GatewaySettings(port=0, drain_seconds=float(sys.argv[2])), MemoryObjectStore()
publish_release(store, 7)
outside = Outside(MemoryQueue(), store, KEYRING, NO_KEYS)
with asyncio.Runner(loop_factory=loop_factory()) as runner:
    runner.run(serve_until_signal(
        settings, outside, bind_all(settings), ApiKeys(None), NO_FAULT, Path(sys.argv[1]) / "gateway.json"))
"""
ASKED = json.dumps({"user_id": 42, "k": 1, "deadline_ms": 100}).encode()
CALLERS = 16


@dataclass
class Started:
    process: subprocess.Popen[bytes]
    url: str


Start = Callable[[float], Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as running:

        def start(drain_seconds: float) -> Started:
            arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), str(drain_seconds)]
            process = subprocess.Popen(arguments)
            running.callback(process.wait)
            running.callback(process.kill)
            published = tmp_path / "gateway.json"
            eventually(lambda: published.exists() or process.poll() is not None)
            url = json.loads(published.read_text())["url"]
            eventually(lambda: status_of(url, "/readyz") == 200)
            return Started(process, url)

        yield start


def status_of(url: str, path: str) -> int:
    return urllib3.request("GET", url + path, retries=False).status


@dataclass
class Load:
    """Callers who ask again and again until nobody takes their connection any more; `kept`: over the same one."""

    url: str
    kept: bool = True
    statuses: list[int] = field(default_factory=list)
    closing: int = 0  # answers that said `Connection: close`
    lost: list[str] = field(default_factory=list)

    def run(self) -> None:
        with ThreadPoolExecutor(CALLERS) as callers:
            for _ in range(CALLERS):
                callers.submit(self._ask_until_refused)

    def _ask_until_refused(self) -> None:
        headers = {} if self.kept else {"Connection": "close"}
        with urllib3.PoolManager(retries=False, timeout=30, headers=headers) as pool:
            while True:
                try:
                    answer = pool.request("POST", f"{self.url}/recommend", body=ASKED)
                except NewConnectionError:
                    return
                except HTTPError as error:
                    self.lost.append(repr(error))
                    return
                self.statuses.append(answer.status)
                self.closing += answer.headers.get("connection") == "close"


def stop_under_load(started: Started, signals: list[signal.Signals], kept: bool = True) -> Load:
    load = Load(started.url, kept)
    running = threading.Thread(target=load.run)
    running.start()
    eventually(lambda: len(load.statuses) > 5 * CALLERS)
    for number in signals:
        started.process.send_signal(number)
        time.sleep(0.05)  # so that each is taken by itself
    running.join()
    assert started.process.wait(30) == 0
    return load


def test_everything_accepted_is_answered_and_a_second_signal_loses_nothing(start: Start) -> None:
    load = stop_under_load(start(0.5), [signal.SIGTERM, signal.SIGTERM, signal.SIGINT])
    assert not load.lost
    assert set(load.statuses) == {200}
    assert load.closing >= CALLERS  # each was told


def test_without_a_pause_every_connection_that_was_let_in_is_still_answered(start: Start) -> None:
    """But for a kept one, whose caller may send while it is closed: that is what the pause is for."""
    load = stop_under_load(start(0), [signal.SIGTERM], kept=False)
    assert set(load.statuses) == {200}
    assert not load.lost


def test_it_says_that_it_is_not_ready_while_it_still_answers(start: Start) -> None:
    started = start(30)
    started.process.send_signal(signal.SIGTERM)
    eventually(lambda: status_of(started.url, "/readyz") == 503)
    answer = urllib3.request("POST", f"{started.url}/recommend", body=ASKED)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert status_of(started.url, "/healthz") == 200


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("times", [30])
def test_again_and_again(start: Start, times: int, tmp_path: Path) -> None:
    for _ in range(times):
        load = stop_under_load(start(0.2), [signal.SIGTERM, signal.SIGTERM])
        assert not load.lost
        assert set(load.statuses) == {200}
