"""The gateway as a process: its ports, what it says of itself, parts that are absent at the start, and its end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import urllib3

from waypost.errors import SettingsError
from waypost.gateway.ports import PREFERRED_PORT, bind, bind_preferred, port_of, url_of
from waypost.queueing.sqs import SqsQueue
from waypost.settings import AwsAccess

from .conftest import StartGateway, eventually

NOBODY = AwsAccess("http://127.0.0.1:1", "eu-west-1", "id", "secret")
QUEUE_URL = "http://127.0.0.1:1/000000000000/requests"
PROGRAM = """
import sys
from pathlib import Path
from waypost import logs
from waypost.gateway.run import run
from waypost.settings import AwsAccess, GatewaySettings, Parts, SharedSettings

folder = Path(sys.argv[1])
nobody = AwsAccess("http://127.0.0.1:1", "eu-west-1", "id", "secret")
logs.configure()
sys.exit(run(
    GatewaySettings(port=0, pointer_seconds=0.05),
    SharedSettings(local_dir=folder),
    Parts(s3=nobody, bucket="waypost", sqs=nobody, request_queue_url="http://127.0.0.1:1/000000000000/requests",
          message_keys_file=folder / "message-keys.json", embedded=("s3", "sqs")),
))
"""
StartProcess = Callable[[], tuple[subprocess.Popen[str], dict[str, Any]]]


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    """A gateway process without S3 and SQS, and what it published of itself."""
    (tmp_path / "message-keys.json").write_text('{"keys": [{"id": "1", "secret": "YSBuZXcgc2VjcmV0IG9mIG91cnMh"}]}')
    published = tmp_path / "run" / "gateway.json"
    with ExitStack() as running:

        def start() -> tuple[subprocess.Popen[str], dict[str, Any]]:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(tmp_path)], stderr=subprocess.PIPE, text=True, cwd=tmp_path
            )
            running.callback(process.communicate)
            running.callback(process.kill)
            eventually(lambda: published.exists() or process.poll() is not None)
            return process, json.loads(published.read_text())

        yield start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_s3_and_sqs_it_lives_says_where_it_is_and_ends_cleanly(
    start_process: StartProcess, number: signal.Signals, tmp_path: Path
) -> None:
    process, said = start_process()
    assert said["pid"] == process.pid
    http = urllib3.PoolManager(timeout=urllib3.Timeout(10), retries=urllib3.Retry(connect=50, backoff_factor=0.01))
    assert http.request("GET", f"{said['url']}/healthz").status == 200
    assert http.request("GET", f"{said['url']}/readyz", retries=False).status == 503
    assert b"waypost_build_info" in http.request("GET", said["metrics_url"]).data
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert not (tmp_path / "run" / "gateway.json").exists()
    assert "Traceback" not in errors


def test_without_sqs_at_the_start_answers_are_degraded(start_gateway: StartGateway) -> None:
    gateway = start_gateway(queue=SqsQueue(NOBODY, QUEUE_URL))
    answer = gateway.post({"user_id": 42, "k": 3, "deadline_ms": 10_000})
    assert (answer.status, answer.json["degraded"], answer.posts) == (200, True, [1, 2, 3])
    assert gateway.metric('waypost_gateway_degraded_total{cause="queue"}') == 1


class TestPorts:
    def test_a_port_that_is_set_and_taken_is_one_line(self) -> None:
        with bind("127.0.0.1", 0, "X") as taken:
            port = port_of(taken)
            with pytest.raises(SettingsError) as refusal:
                bind_preferred("127.0.0.1", port, "WAYPOST_GATEWAY_PORT")
        assert str(refusal.value) == (
            f"127.0.0.1:{port} cannot be bound: Address already in use; set WAYPOST_GATEWAY_PORT to a free one"
        )

    def test_8080_is_preferred_and_a_free_port_taken_where_it_is_taken(self) -> None:
        with bind_preferred("127.0.0.1", None, "X") as first, bind_preferred("127.0.0.1", None, "X") as second:
            assert port_of(second) not in (0, PREFERRED_PORT)
            assert port_of(first) == PREFERRED_PORT or is_taken(PREFERRED_PORT)

    def test_a_host_that_is_not_here_is_one_line(self) -> None:
        with pytest.raises(SettingsError, match="set WAYPOST_GATEWAY_PORT"):
            bind("192.0.2.7", 0, "WAYPOST_GATEWAY_PORT")

    def test_the_url_can_be_used_on_this_machine(self) -> None:
        with bind("0.0.0.0", 0, "X") as everywhere, bind("127.0.0.1", 0, "X") as here:
            assert url_of(everywhere) == f"http://127.0.0.1:{port_of(everywhere)}"
            assert url_of(here) == f"http://127.0.0.1:{port_of(here)}"


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
