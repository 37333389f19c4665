"""A gateway and a worker as processes on the real parts, from their start to their end: every line they say is one JSON
object that says who, when and with which release, and not one quotes a caller."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import urllib3

from tests.factories import a_release, some_tensors
from waypost.clock import SystemClock
from waypost.errors import TritonUnavailable
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.queueing.protocols import OutgoingMessage
from waypost.queueing.sqs import SqsQueue
from waypost.release.moves import point_to
from waypost.release.repository import remove_model
from waypost.release.store import publish
from waypost.release.triton import TritonModel
from waypost.settings import EmbeddedStack

USERS, POSTS = 987_654_321_000, 876_543_210_000  # whatever begins like them stands in no line
QUOTED = (str(USERS)[:9], str(POSTS)[:9], "zanzibar", "quokka")
WAIT_SECONDS = 60.0  # a limit of patience, not a measure
# A process in which, once a file is there, everything goes wrong that nobody foresaw.
PROGRAM = f"""
import sys, threading, time, warnings
from pathlib import Path
from waypost.cli import main

def accidents():
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    warnings.warn("quokka {USERS}")
    class Quoting:
        def __del__(self):
            raise ValueError("quokka {USERS}")
    Quoting()
    raise RuntimeError("quokka {USERS}")

threading.Thread(target=accidents, daemon=True).start()
sys.exit(main([sys.argv[1]]))
"""
# A gateway whose door has a bug, which quotes what it was given.
BUGGY = """
import sys
from waypost.cli import main
from waypost.gateway.recommend import Recommender

async def recommend(self, question, *arguments):
    raise RuntimeError(str(question))

Recommender.recommend = recommend
sys.exit(main(["gateway"]))
"""


@dataclass
class Started:
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """All of them; whatever is no object fails the test."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    def url(self) -> str:
        eventually(lambda: bool(self.said("gateway serves")))
        return str(self.said("gateway serves")[0]["url"])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_SECONDS)


Start = Callable[..., Started]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture
def environ(aws_stack: EmbeddedStack, bucket: str, request_queue_url: str, tmp_path: Path) -> dict[str, str]:
    keys = tmp_path / "message-keys.json"
    keys.write_text('{"keys": [{"id": "1", "secret": "YSBuZXcgc2VjcmV0IG9mIG91cnMh"}]}')
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WAYPOST_", "AWS_"))}
    return inherited | {
        "WAYPOST_LOCAL_DIR": str(tmp_path), "WAYPOST_LOG_STYLE": "json", "WAYPOST_BUCKET": bucket,
        "WAYPOST_REQUEST_QUEUE_URL": request_queue_url, "WAYPOST_MESSAGE_KEYS_FILE": str(keys),
        "WAYPOST_KUBERNETES": "never", "WAYPOST_GATEWAY_PORT": "0", "WAYPOST_GATEWAY_DRAIN_SECONDS": "0",
        "WAYPOST_GATEWAY_LOG_SAMPLE": "1", "WAYPOST_WORKER_LOG_SAMPLE": "1",
        "AWS_ENDPOINT_URL": aws_stack.aws_endpoint_url, "AWS_REGION": aws_stack.aws_region,
        "AWS_ACCESS_KEY_ID": aws_stack.aws_access_key_id, "AWS_SECRET_ACCESS_KEY": aws_stack.aws_secret_access_key,
    }  # fmt: skip


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as running:

        def start(program: str, *arguments: str, **different: str) -> Started:
            log = tmp_path / f"{len(list(tmp_path.glob('*.log')))}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [sys.executable, "-c", program, *arguments], env=environ | different, stdout=out, stderr=out
                )
            running.callback(process.wait)
            running.callback(process.kill)
            return Started(process, log)

        yield start


@pytest.fixture
def a_worker_environ(triton_stack: EmbeddedStack, aws_stack: EmbeddedStack, bucket: str) -> Iterator[dict[str, str]]:
    """Of one whose Triton will hold release 1."""
    tensors = some_tensors()
    tensors = some_tensors(
        user_ids=tensors.user_ids + USERS, post_ids=np.arange(POSTS, POSTS + tensors.num_posts, dtype=np.int64)
    )
    store = S3ObjectStore(s3_client(aws_stack.aws()), bucket)
    publish(store, "release-1", *a_release(version=1, tensors=tensors))
    point_to(store, None, "release-1", 1, "test", SystemClock())
    yield {
        "WAYPOST_TRITON_URL": triton_stack.triton_url,
        "WAYPOST_WORKER_REPOSITORY": triton_stack.triton_repository,
        "WAYPOST_WORKER_TRITON_BACKEND": "python",
        "WAYPOST_WORKER_TRITON_DEVICE": "cpu",
    }
    model = TritonModel(triton_stack.triton_url, 5, 30)
    with suppress(TritonUnavailable):
        model.unload()
    model.close()
    remove_model(Path(triton_stack.triton_repository), model.name)


def ask(url: str, deadline_ms: int = 5_000, **different: Any) -> dict[str, Any]:
    asked = {"user_id": USERS + 20, "k": 3, "query": "quokka", "tags": {"none": ["zanzibar"]}, **different}
    body = json.dumps({"deadline_ms": deadline_ms, **asked})
    answer = urllib3.request("POST", f"{url}/recommend", body=body, retries=False, timeout=30)
    return {"status": answer.status, "id": answer.headers["X-Request-Id"], **answer.json()}


def require_lines(started: Started, process: str) -> None:
    lines = started.lines()
    assert lines
    for line in lines:
        assert {"time", "level", "process", "version", "model_version", "logger", "event"} <= line.keys()
        assert line["process"] == process
    assert not [line for line in lines if line["logger"] == "waypost.requests" and not line.get("request_id")
                and line["event"] not in ("rejected", "dead letter", "connection cut")]  # fmt: skip
    text = started.log.read_text()
    assert not [word for word in QUOTED if word in text]


@pytest.mark.timeout(300)
def test_every_line_of_a_whole_life_is_an_object_and_quotes_nobody(
    start: Start, a_worker_environ: dict[str, str], environ: dict[str, str], aws_stack: EmbeddedStack, tmp_path: Path
) -> None:
    trouble = tmp_path / "trouble"
    gateway = start(PROGRAM, "gateway", str(trouble))
    worker = start(PROGRAM, "worker", str(trouble), **a_worker_environ)
    url = gateway.url()
    eventually(lambda: urllib3.request("GET", f"{url}/readyz", retries=False).status == 200)
    eventually(lambda: ask(url).get("source") == "graphsage")

    good = ask(url)
    assert ask(url, user_id=f"quokka {USERS}")["status"] == 422
    with socket.create_connection((str(urlsplit(url).hostname), urlsplit(url).port or 0)) as caller:
        caller.sendall(f"GIVE {USERS}\r\n\r\n".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 400")
    SqsQueue(aws_stack.aws(), environ["WAYPOST_REQUEST_QUEUE_URL"]).send([OutgoingMessage(b"quokka", {})])
    eventually(lambda: bool(worker.said("rejected")))
    worker.process.send_signal(signal.SIGSTOP)
    degraded = ask(url, deadline_ms=100)
    worker.process.send_signal(signal.SIGCONT)
    trouble.touch()
    for started in (gateway, worker):
        eventually(lambda: bool(started.said("a thread ended by an exception")))  # noqa: B023
    assert (gateway.stop(), worker.stop()) == (0, 0)

    require_lines(gateway, "gateway")
    require_lines(worker, "worker")
    by_gateway = {line["request_id"]: line for line in gateway.said("answered")}
    by_worker = {line["request_id"]: line for line in worker.said("answered")}
    assert by_gateway[good["id"]]["user"] == by_worker[good["id"]]["user"]
    assert by_gateway[good["id"]]["model_version"] == by_worker[good["id"]]["model_version"] == 1
    assert by_gateway[degraded["id"]]["cause"] == "timeout"
    assert gateway.said("gateway stops")[-1]["model_version"] == 1
    for started in (gateway, worker):
        assert started.said("a warning of Python")[0]["category"] == "UserWarning"
        assert "ValueError" in started.said("an exception that could not be raised")[0]["exception"]


@pytest.mark.faults
def test_a_bug_in_the_gateways_door_is_a_line_with_the_requests_id(
    start: Start, a_worker_environ: dict[str, str]
) -> None:
    gateway = start(BUGGY)
    url = gateway.url()
    eventually(lambda: urllib3.request("GET", f"{url}/readyz", retries=False).status == 200)
    body = json.dumps({"user_id": USERS, "query": "quokka"})
    assert urllib3.request("POST", f"{url}/recommend", body=body, retries=False).status == 500
    assert gateway.stop() == 0
    (line,) = [line for line in gateway.lines() if "exception" in line]
    assert len(line["request_id"]) == 32
    assert "RuntimeError" in line["exception"]
    require_lines(gateway, "gateway")


@pytest.mark.parametrize("process", ["gateway", "worker"])
def test_a_process_that_cannot_start_says_why_in_an_object(start: Start, process: str) -> None:
    refused = start(f"import sys; from waypost.cli import main; sys.exit(main(['{process}']))", WAYPOST_WROKER="2")
    assert refused.process.wait(WAIT_SECONDS) == 78
    (line,) = refused.lines()
    assert (line["process"], line["level"], line["exit_code"]) == (process, "error", 78)
    assert "WAYPOST_WROKER" in line["cause"]
