"""The clients and real gateways: in this process with a worker's loop behind, and as processes that are killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import (
    StartGateway,
    StartWorker,
    eventually,
    publish_release,
    queue,
    start_gateway,
    start_worker,
    store,
)
from waypost.client import Client, InvalidRequest, RecommendRequest
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.queueing.sqs import SqsQueue
from waypost.settings import AwsAccess

from .conftest import PATIENT_MS, MakeClient

__all__ = ["queue", "start_gateway", "start_worker", "store"]  # pytest finds fixtures by their names
MESSAGE_KEYS = '{"keys": [{"id": "2025", "secret": "YSBuZXcgc2VjcmV0IG9mIG91cnMh"}]}'  # KEYRING of the worker
PROGRAM = """
import json
import sys
from pathlib import Path
from waypost import logs
from waypost.gateway.run import run
from waypost.settings import AwsAccess, GatewaySettings, Parts, SharedSettings

folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
aws = AwsAccess(*given["aws"])
logs.configure()
sys.exit(run(
    GatewaySettings(port=0, pointer_seconds=0.05),
    SharedSettings(local_dir=folder),
    Parts(s3=aws, bucket=given["bucket"], sqs=aws, request_queue_url=given["request_queue_url"],
          message_keys_file=folder / "message-keys.json", embedded=("s3", "sqs")),
))
"""


def test_the_model_s_answer_comes_through_queue_and_worker(
    start_gateway: StartGateway, start_worker: StartWorker, make_client: MakeClient
) -> None:
    start_worker()
    answer = make_client(start_gateway().url)(42, 3, recent_post_ids=[7], deadline_ms=PATIENT_MS)
    assert (answer.source, answer.model_version, answer.degraded) == ("graphsage", 7, False)
    assert answer.post_ids == [1000, 1001, 1002]


def test_what_a_gateway_says_is_popular_is_the_fallback_when_it_is_gone(
    start_gateway: StartGateway, make_client: MakeClient
) -> None:
    gateway = start_gateway()
    ask = make_client(gateway.url)
    first = ask(42, 5, deadline_ms=100)  # there is no worker
    assert (first.source, first.degraded, first.post_ids) == ("popular", True, [1, 2, 3, 4, 5])
    gateway.stop()
    then = ask(43, 3, exclude_post_ids=[2], deadline_ms=PATIENT_MS)
    assert (then.source, then.cause, then.post_ids) == ("fallback", "closed", [1, 3, 4])


def test_a_field_that_only_the_release_can_judge_is_named(start_gateway: StartGateway, make_client: MakeClient) -> None:
    with pytest.raises(InvalidRequest, match="user_id: Input should be a valid integer"):
        make_client(start_gateway().url)("ana", deadline_ms=PATIENT_MS)


def test_many_threads_share_one_client(start_gateway: StartGateway, start_worker: StartWorker) -> None:
    start_worker()
    with Client(start_gateway().url) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda user: client.recommend(user, 3, deadline_ms=PATIENT_MS), range(400)))
    assert [answer.user_id for answer in answers] == list(range(400))
    assert {answer.source for answer in answers} == {"graphsage"}


def test_a_forked_child_asks_over_connections_of_its_own(
    start_gateway: StartGateway, start_worker: StartWorker
) -> None:
    """A process forks as a web server's master does: its client was used before."""
    start_worker()
    program = """
import os, sys
from waypost.client import Client

client = Client(sys.argv[1])
def ask():
    return client.recommend(42, 3, deadline_ms=10_000).post_ids
asked = [ask()]
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, repr(ask()).encode())
    client.close()
    os._exit(0)
os.wait()
asked += [os.read(read, 100).decode(), ask()]
client.close()
print(asked)
"""
    command = [sys.executable, "-W", "error", "-c", program, start_gateway().url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[[1000, 1001, 1002], '[1000, 1001, 1002]', [1000, 1001, 1002]]\n", "")


def test_a_client_that_nobody_closes_ends_with_its_process_and_says_nothing(start_gateway: StartGateway) -> None:
    program = "import sys; from waypost.client import Client; c = Client(sys.argv[1]); print(c.recommend(1, 1).source)"
    command = [sys.executable, "-c", program, start_gateway().url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "popular\n", "")


class TestProcesses:
    @pytest.fixture
    def queue(self, aws_access: AwsAccess, request_queue_url: str) -> SqsQueue:
        """The real one, for the worker's loop too."""
        return SqsQueue(aws_access, request_queue_url)

    @pytest.fixture
    def gateways(
        self, tmp_path: Path, aws_access: AwsAccess, bucket: str, request_queue_url: str
    ) -> Iterator[list[Process]]:
        """Three gateway processes on the real S3 and SQS."""
        publish_release(S3ObjectStore(s3_client(aws_access), bucket), 7)
        access = [aws_access.endpoint_url, aws_access.region, aws_access.access_key_id, aws_access.secret_access_key]
        given = json.dumps({"aws": access, "bucket": bucket, "request_queue_url": request_queue_url})
        with ExitStack() as running:
            started = [Process(running, tmp_path / name, given) for name in ("one", "two", "three")]
            for process in started:
                process.wait_until_it_answers()
            yield started

    def test_gateways_that_hang_die_or_stop_under_load_cost_nobody_an_answer(
        self, gateways: list[Process], start_worker: StartWorker
    ) -> None:
        start_worker()
        sources: list[str] = []
        with Client([process.url for process in gateways]) as client, ThreadPoolExecutor(4) as pool:

            def ask_while(disturb: Callable[[], None]) -> None:
                asked = threading.Semaphore(0)

                def ask(user: int) -> None:
                    sources.append(client.recommend(user, 3, deadline_ms=5_000).source)
                    asked.release()

                calls = [pool.submit(ask, user) for user in range(60)]
                for _ in range(30):
                    asked.acquire()
                disturb()
                for call in calls:
                    call.result()

            ask_while(lambda: gateways[0].send(signal.SIGSTOP))
            gateways[0].send(signal.SIGCONT)
            ask_while(lambda: gateways[0].send(signal.SIGKILL))
            ask_while(lambda: gateways[1].send(signal.SIGTERM))
        assert len(sources) == 180
        assert "fallback" not in sources


class Process:
    def __init__(self, running: ExitStack, folder: Path, given: str) -> None:
        folder.mkdir()
        (folder / "message-keys.json").write_text(MESSAGE_KEYS)
        self._published = folder / "run" / "gateway.json"
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), given], stderr=subprocess.PIPE, text=True
        )
        running.callback(self._process.communicate)
        running.callback(self._process.kill)

    @property
    def url(self) -> str:
        url: str = json.loads(self._published.read_text())["url"]
        return url

    def wait_until_it_answers(self) -> None:
        eventually(lambda: self._published.exists() or self._process.poll() is not None)
        with Client(self.url, fallback=[]) as client:
            eventually(lambda: client.recommend(1, 1, deadline_ms=100).source == "popular")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


def test_the_example_of_the_documentation_runs(start_gateway: StartGateway, start_worker: StartWorker) -> None:
    start_worker()
    page = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
    example = page.split("```python\n", 1)[1].split("```", 1)[0]
    assert len(example.strip().splitlines()) == 10
    shown: list[Any] = []
    here = example.replace("http://127.0.0.1:8080", start_gateway().url).replace("deadline_ms=250", "deadline_ms=9_000")
    names: dict[str, Any] = {"print": lambda *words: shown.append(words)}
    exec(compile(here, "docs/client.md", "exec"), names)
    names["client"].close()
    assert shown == [(1000 + place, 1.0 - place / 1_000) for place in range(10)]


def test_the_body_in_the_readme_is_the_model_with_its_defaults() -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    body = page.split("with their defaults:\n\n", 1)[1].split("\n\n", 1)[0]
    assert json.loads(body) == json.loads(RecommendRequest(user_id=42).model_dump_json())
