"""Triton says READY whatever happens to it. A whole stack under a light load, its parts killed, stopped and fooled: who
is told the truth, how soon, and how soon does the model answer again? `make drill` runs these and prints the times."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.drill.watching import Outcome, Watch, drilled, report
from tests.test_end_to_end import Waypost, eventually, known_users
from tests.triton_processes import find_stub, server_of, stub_of
from waypost.local import stack
from waypost.local.layout import Layout
from waypost.local.supervisor import Supervisor
from waypost.settings import LocalSettings, read_settings, read_shared

NOTICED_SECONDS, BACK_SECONDS, COLD_SECONDS = 3.0, 15.0, 20.0  # the bounds that the project has set itself
LOAD_TIMEOUT_SECONDS = 5
SETTINGS = {"WAYPOST_WORKER_LOAD_TIMEOUT_SECONDS": str(LOAD_TIMEOUT_SECONDS), "WAYPOST_WORKER_CANARY_SHARE": "0"}

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


class Drill:
    """A running stack with one published release, and the load on it."""

    def __init__(self, waypost: Waypost) -> None:
        self.waypost, self.layout = waypost, Layout.of(waypost.folder / "stack")
        self.stack: dict[str, Any] = json.loads(self.layout.stack_file.read_text())
        self.repository = Path(self.stack["triton_repository"])
        self.model = self.repository / "recommender"
        self.worker_file = self.layout.published("worker")
        self.users = known_users(waypost)[:200]

    def served(self) -> Path:
        """The version folder that answers now."""
        version = self.waypost.ask(user_id=self.users[0], deadline_ms=5000)["model_version"]
        return self.model / str(version)

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        with Watch(self.waypost.part_url, self.users, self.worker_file).running() as watch:
            yield watch

    def publish(self) -> dict[str, Any]:
        """One more night; what `release show` says of it."""
        self.waypost("night")
        shown: dict[str, Any] = json.loads(self.waypost("release", "show"))
        return shown

    def break_in_store(self, release: str, path: str = "model.onnx") -> None:
        """Cut one of the objects of a release; nobody but this test ever writes one twice."""
        client = boto3.client(
            "s3", endpoint_url=self.stack["aws_endpoint_url"], region_name=self.stack["aws_region"],
            aws_access_key_id=self.stack["aws_access_key_id"],
            aws_secret_access_key=self.stack["aws_secret_access_key"],
        )  # fmt: skip
        key = f"releases/{release}/{path}"
        body = client.get_object(Bucket=self.stack["bucket"], Key=key)["Body"].read()
        client.put_object(Bucket=self.stack["bucket"], Key=key, Body=body[:-1])
        client.close()

    def start_triton(self) -> None:
        """And nothing else."""
        stack.up(self.layout.root, read_settings(LocalSettings, {}), read_shared({}), ["triton"])

    def kill(self, part: str) -> None:
        leader = Supervisor(self.layout).read_leader(part)
        assert leader is not None
        os.kill(leader.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def drill(stack_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """Its logs outlive it, in pytest's own temporary folder."""
    folder = stack_folders / "drill"
    folder.mkdir()
    waypost = Waypost(folder)
    waypost.environ |= SETTINGS
    try:
        waypost("local", "up")
        waypost("local", "generate", "world", "--interactions", "6000", "--seed", "5")
        waypost("load", "world")
        waypost("night")
        eventually(lambda: waypost.part("gateway")["state"] == "up")
        waypost.part_url = waypost.part("gateway")["url"]
        user = known_users(waypost)[0]
        eventually(lambda: waypost.ask(user_id=user, deadline_ms=2000)["source"] == "graphsage")
        yield Drill(waypost)
    finally:
        waypost("local", "down")
        shutil.copytree(folder / "stack" / "logs", tmp_path_factory.getbasetemp() / "drill-logs", dirs_exist_ok=True)


def hold(outcome: Outcome, back_seconds: float = BACK_SECONDS) -> None:
    """Noticed in time unless it went unfelt, the model back in time, and every caller got a 200."""
    assert set(outcome.statuses) == {200}
    assert outcome.back is not None
    assert outcome.back <= back_seconds
    assert outcome.noticed is not None
    assert outcome.noticed <= NOTICED_SECONDS


def stub_killed(drill: Drill) -> None:
    os.kill(stub_of(drill.served()), signal.SIGKILL)


def stub_stopped(drill: Drill) -> None:
    os.kill(stub_of(drill.served()), signal.SIGSTOP)


def stub_stopped_and_resumed(drill: Drill) -> None:
    stub = stub_of(drill.served())
    os.kill(stub, signal.SIGSTOP)
    time.sleep(2.5)
    if find_stub(drill.served()) == stub:
        os.kill(stub, signal.SIGCONT)


def server_killed(drill: Drill) -> None:
    os.kill(server_of(drill.repository), signal.SIGKILL)


def server_stopped(drill: Drill) -> None:
    os.kill(server_of(drill.repository), signal.SIGSTOP)


def keeper_killed(drill: Drill) -> None:
    """`waypost local run` starts it again as Kubernetes would; here the verb does."""
    drill.kill("triton")
    drill.waypost("local", "up")


@pytest.mark.parametrize(
    "harm", [stub_killed, stub_stopped, stub_stopped_and_resumed, server_killed, server_stopped, keeper_killed]
)
def test_a_dead_or_hung_part_is_noticed_and_mended(drill: Drill, harm: Callable[[Drill], None]) -> None:
    with drill.watched() as watch:
        hold(drilled(watch, harm.__name__.replace("_", " "), lambda: harm(drill)))


def test_a_stub_killed_again_and_again_is_mended_each_time(drill: Drill) -> None:
    with drill.watched() as watch:
        for number in (1, 2, 3):
            hold(drilled(watch, f"stub killed, time {number} in a row", lambda: stub_killed(drill)))


def test_an_empty_version_folder_hangs_no_load(drill: Drill) -> None:
    """Triton loads all it finds: the folder goes before it looks."""
    with drill.watched() as watch:
        watch.until_well(time.monotonic())
        begun = time.monotonic()
        (drill.model / "999").mkdir()
        version = drill.publish()["version"]
        eventually(lambda: drill.served().name == str(version))
        outcome = watch.since(begun)
    report("empty version folder beside a new release", outcome)
    assert set(outcome.statuses) == {200}
    assert outcome.noticed is None, "readiness was lost"
    assert not (drill.model / "999").exists()


def test_a_load_that_hangs_costs_a_restart_and_the_old_release_serves_again(drill: Drill) -> None:
    """The new stub is stopped as soon as it starts; the old release answers until the load's time is over."""
    old = drill.served()
    with drill.watched() as watch:
        watch.until_well(time.monotonic())
        server = server_of(drill.repository)
        with new_stubs_stopped(drill) as stopped:
            new = drill.model / str(drill.publish()["version"])
            eventually(lambda: bool(stopped))
            hanging = time.monotonic()
            eventually(lambda: not new.exists())
        given_up = time.monotonic()
        watch.until_well(given_up)
        outcome = watch.since(given_up)
        report(f"load hanging, given up after {given_up - hanging:.1f} s", outcome)
        assert set(watch.since(hanging).statuses) == {200}
        hold(outcome)
        assert server_of(drill.repository) != server
        assert drill.served() == old
        eventually(lambda: drill.served() == new)  # it is tried again after a while, and nothing stops it any more


@contextmanager
def new_stubs_stopped(drill: Drill) -> Iterator[list[int]]:
    """Every stub that starts meanwhile, by pid; scratch models of the preflight are spared."""
    over, stopped = threading.Event(), list[int]()
    known = {find_stub(version) for version in drill.model.glob("*[0-9]")}

    def stop_them() -> None:
        while not over.wait(0.001):
            for version in drill.model.glob("*[0-9]"):
                stub = find_stub(version)
                if stub is not None and stub not in known:
                    os.kill(stub, signal.SIGSTOP)
                    known.add(stub)
                    stopped.append(stub)

    thread = threading.Thread(target=stop_them)
    thread.start()
    try:
        yield stopped
    finally:
        over.set()
        thread.join()


def test_a_broken_newest_release_at_a_cold_start_costs_nothing(drill: Drill) -> None:
    cold_start(drill, "newest release broken, cold start", keep_disk=True)


def cold_start(drill: Drill, fault: str, keep_disk: bool) -> None:
    """Worker and Triton end as with their node; the newest release, which nobody has loaded yet, is damaged."""
    old = drill.served()
    with drill.watched() as watch:
        watch.until_well(time.monotonic())
        drill.kill("worker")
        broken = drill.publish()
        drill.break_in_store(broken["release"])
        drill.kill("triton")
        shutil.rmtree(drill.model)
        if not keep_disk:
            shutil.rmtree(drill.layout.root / "kept-release")
        begun = time.monotonic()
        drill.waypost("local", "up")
        watch.until_well(begun)
        outcome = watch.since(begun)
    report(fault, outcome)
    hold(outcome, COLD_SECONDS)
    served = drill.served().name
    assert served == old.name if keep_disk else served != str(broken["version"])
    drill.waypost("release", "rollback", "--reason", "the drill is over")
    pointed = json.loads(drill.waypost("release", "show"))["version"]
    eventually(lambda: drill.served().name == str(pointed))


@pytest.mark.parametrize("silent", [False, True], ids=["refusing", "silent"])
def test_a_cold_start_without_the_store_serves_the_release_on_disk(drill: Drill, silent: bool) -> None:
    """A worker of its own, whose bucket is at an address where nobody listens, or somebody listens and says nothing."""
    old = drill.served()
    with drill.watched() as watch, socket.create_server(("127.0.0.1", 0)) as listening:
        watch.until_well(time.monotonic())
        drill.kill("worker")
        drill.kill("triton")
        shutil.rmtree(drill.model)
        port = listening.getsockname()[1]
        if not silent:
            listening.close()
        begun = time.monotonic()
        with a_worker_with_its_store_at(drill, f"http://127.0.0.1:{port}"):
            drill.start_triton()
            watch.until_well(begun)
            outcome = watch.since(begun)
    drill.waypost("local", "up")
    report(f"S3 gone ({'silent' if silent else 'refusing'}), cold start", outcome)
    hold(outcome, COLD_SECONDS)
    assert {seen.version for seen in outcome.answers if seen.by_model} == {int(old.name)}


@contextmanager
def a_worker_with_its_store_at(drill: Drill, url: str) -> Iterator[None]:
    environ = {
        **drill.waypost.environ, "WAYPOST_BUCKET": str(drill.stack["bucket"]), "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
        "WAYPOST_RELEASE_KEYS_FILE": str(drill.stack["release_keys_file"]),
    }  # fmt: skip
    log = (drill.layout.logs / "worker-without-store.log").open("ab")
    command = [sys.executable, "-m", "waypost.cli", "worker"]
    worker = subprocess.Popen(command, cwd=drill.waypost.folder, env=environ, stdout=log, stderr=log)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(timeout=90)
        log.close()


def test_a_broken_newest_release_at_the_first_start_of_a_pod_costs_nothing(drill: Drill) -> None:
    cold_start(drill, "newest release broken, cold start, bare disk", keep_disk=False)
