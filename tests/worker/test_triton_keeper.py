"""The keeper with a real tritonserver, and with small scripts in its place where only processes matter."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.factories import a_release
from tests.triton_processes import PATIENCE_SECONDS, server_of, stub_of
from waypost.errors import TritonUnavailable
from waypost.local import triton
from waypost.local.layout import Layout
from waypost.local.ports import choose_ports
from waypost.local.processes import read_process, wait_until
from waypost.release import golden, lookups
from waypost.release.repository import assemble
from waypost.release.store import GOLDEN, LOOKUPS
from waypost.release.triton import TritonModel
from waypost.worker.restarter import KeeperFolder

SHARED_MEMORY = Path("/dev/shm")
SLEEP = "import time; time.sleep(600)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
WITH_A_CHILD = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); \
open('child', 'w').write(str(child.pid)); {SLEEP}"
FILES, _ = a_release()
SIZES, ASKED = lookups.from_bytes(FILES[LOOKUPS]).sizes, golden.from_bytes(FILES[GOLDEN])


class RunningKeeper:
    """A keeper as a process, with its log."""

    def __init__(self, process: subprocess.Popen[bytes], repository: Path, log: Path) -> None:
        self.process, self.repository, self._log = process, repository, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def running(
    command: list[str], repository: Path, environment: dict[str, str] | None = None, folder: Path | None = None
) -> Iterator[RunningKeeper]:
    log = repository.parent / f"{uuid.uuid4().hex}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
    try:
        yield RunningKeeper(process, repository, log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def keeping_a_script(tmp_path: Path, script: str, prefix: str = "waypost-none-") -> Iterator[RunningKeeper]:
    """A keeper of a python script instead of a tritonserver."""
    repository = tmp_path / "models"
    command = [sys.executable, str(triton.KEEPER), f"--repository={repository}", f"--region-prefix={prefix}"]
    with running([*command, "--stop-seconds=0.5", "--", sys.executable, "-c", script], repository, None, tmp_path) as k:
        yield k


class KeptTriton:
    """A real tritonserver under a keeper of its own, with one release loaded."""

    def __init__(self, keeper: RunningKeeper, layout: Layout, model: TritonModel) -> None:
        self.keeper, self.layout, self.model = keeper, layout, model

    def load(self) -> None:
        assert wait_until(self._is_live, PATIENCE_SECONDS), self.keeper.log
        assemble(self.keeper.repository, 1, FILES, SIZES, "python", "cpu")
        self.model.load()
        assert self.model.golden_difference(1, ASKED) == ""

    def _is_live(self) -> bool:
        try:
            self.model.require_live(1)
        except TritonUnavailable:
            return False
        return True

    def server(self) -> int:
        return server_of(self.keeper.repository)

    def stub(self) -> int:
        return stub_of(self.keeper.repository)

    def regions(self) -> set[str]:
        return {path.name for path in SHARED_MEMORY.glob(f"{triton.region_prefix(self.layout)}*")}


@pytest.fixture
def kept(tmp_path: Path, need_package: Callable[[str], None]) -> Iterator[KeptTriton]:
    layout, home = Layout.of(tmp_path / "stack"), triton.find_triton(None)
    layout.create()
    triton.save_backends(home, layout.triton_backends)
    ports = choose_ports(triton.PORT_NAMES, dict.fromkeys(triton.PORT_NAMES, 0), {}, [])
    spec = triton.triton_spec(layout, home, ports)
    model = TritonModel(f"127.0.0.1:{ports['triton_grpc']}", 5, 30)
    command, environment = list(spec.command), dict(spec.environment)
    with running(command, layout.triton_models, environment, spec.working_dir) as keeper:
        kept = KeptTriton(keeper, layout, model)
        kept.load()
        yield kept
    model.close()
    triton.remove_regions(layout)  # a killed keeper leaves them to the next one


def is_gone(pid: int) -> bool:
    return wait_until(lambda: read_process(pid) is None, PATIENCE_SECONDS)


def test_a_killed_server_is_started_again_and_nothing_of_it_stays(kept: KeptTriton) -> None:
    server, stub, regions = kept.server(), kept.stub(), kept.regions()
    assert regions
    os.kill(stub, signal.SIGSTOP)  # a stopped stub would outlive its server
    os.kill(server, signal.SIGKILL)
    assert wait_until(lambda: "signal SIGKILL" in kept.keeper.log, PATIENCE_SECONDS)
    assert kept.server() != server
    kept.load()
    assert is_gone(server)
    assert is_gone(stub)
    assert not regions & kept.regions()


def test_a_server_that_hangs_is_restarted_when_the_worker_asks(kept: KeptTriton) -> None:
    server, regions = kept.server(), kept.regions()
    stranger = SHARED_MEMORY / f"waypost-{uuid.uuid4().hex}-stranger"
    stranger.touch()
    try:
        os.kill(server, signal.SIGSTOP)
        KeeperFolder(kept.keeper.repository).restart()
        assert kept.server() != server
        kept.load()
        assert not regions & kept.regions()
        assert stranger.exists(), "another server's region is none of its business"
    finally:
        stranger.unlink()


def test_sigterm_ends_the_server_in_order_and_leaves_nothing(kept: KeptTriton) -> None:
    server, stub = kept.server(), kept.stub()
    assert kept.keeper.stop() == 0
    assert "server ended (exit code 0)" in kept.keeper.log
    assert is_gone(server)
    assert is_gone(stub)
    assert not kept.regions()


def test_a_server_does_not_outlive_a_killed_keeper(kept: KeptTriton) -> None:
    server = kept.server()
    kept.keeper.stop(signal.SIGKILL)
    assert is_gone(server)
    with pytest.raises(TritonUnavailable, match="no keeper restarts the Triton"):
        KeeperFolder(kept.keeper.repository).restart()


def test_the_stub_that_a_killed_keeper_leaves_is_ended_by_the_next_one(kept: KeptTriton, tmp_path: Path) -> None:
    stub, prefix = kept.stub(), triton.region_prefix(kept.layout)
    os.kill(stub, signal.SIGSTOP)  # as one that waits for its dead server's lock: seen once in some hundred ends
    kept.keeper.stop(signal.SIGKILL)
    assert read_process(stub) is not None
    with keeping_a_script(tmp_path, SLEEP, prefix):
        assert is_gone(stub)


def test_sigterm_ends_a_server_that_hangs(tmp_path: Path) -> None:
    with keeping_a_script(tmp_path, SLEEP) as keeper:
        server = server_of(keeper.repository)
        os.kill(server, signal.SIGSTOP)
        assert keeper.stop() == 0
        assert is_gone(server)


def test_a_server_that_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    with keeping_a_script(tmp_path, IGNORES_SIGTERM) as keeper:
        assert wait_until(lambda: "deaf" in keeper.log, PATIENCE_SECONDS)
        server = server_of(keeper.repository)
        assert keeper.stop() == 0
        assert is_gone(server)
        assert "did not end within" in keeper.log


def test_children_of_a_server_end_with_it(tmp_path: Path) -> None:
    with keeping_a_script(tmp_path, WITH_A_CHILD) as keeper:
        file = tmp_path / "child"
        assert wait_until(lambda: file.exists() and file.read_text() != "", PATIENCE_SECONDS)
        child = int(file.read_text())
        assert read_process(child) is not None
        os.kill(server_of(keeper.repository), signal.SIGKILL)
        assert is_gone(child)


def test_the_pauses_grow_while_the_server_dies_of_its_start(tmp_path: Path) -> None:
    with keeping_a_script(tmp_path, "raise SystemExit(3)") as keeper:
        pauses = r"\(exit code 3\); started again in ([\d.]+) s"
        assert wait_until(lambda: len(re.findall(pauses, keeper.log)) >= 4, PATIENCE_SECONDS)
        assert re.findall(pauses, keeper.log)[:4] == ["0.1", "0.2", "0.4", "0.8"]


def test_a_restart_that_is_asked_for_waits_for_no_pause(tmp_path: Path) -> None:
    """The asker gets his answer in the midst of a pause."""
    with keeping_a_script(tmp_path, "raise SystemExit(3)") as keeper:
        assert wait_until(lambda: "started again in 1.6 s" in keeper.log, PATIENCE_SECONDS)
        starts = keeper.log.count("server started")
        KeeperFolder(keeper.repository, accept_seconds=1).restart()
        assert keeper.log.count("server started") > starts


def test_a_command_that_is_not_there_is_told_and_tried_again(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    options = [f"--repository={repository}", "--region-prefix=waypost-none-", "--", str(tmp_path / "nothing")]
    with running([sys.executable, str(triton.KEEPER), *options], repository) as keeper:
        assert wait_until(lambda: keeper.log.count("cannot be started") >= 2, PATIENCE_SECONDS)
        with pytest.raises(TritonUnavailable, match="did not restart it"):
            KeeperFolder(repository, accept_seconds=0.5).restart()


def test_one_repository_has_one_keeper(tmp_path: Path) -> None:
    with keeping_a_script(tmp_path, SLEEP) as first:
        server = server_of(first.repository)
        with keeping_a_script(tmp_path, SLEEP) as second:
            assert second.process.wait(timeout=PATIENCE_SECONDS) == 1
            assert "another keeper runs for" in second.log
        assert server_of(first.repository) == server


def test_without_a_keeper_nobody_waits_for_one(tmp_path: Path) -> None:
    with pytest.raises(TritonUnavailable, match=r"no keeper restarts the Triton of .*; run Triton by"):
        KeeperFolder(tmp_path).restart()


def test_the_keeper_needs_nothing_but_the_standard_library() -> None:
    names = set()
    for node in ast.walk(ast.parse(triton.KEEPER.read_text(), feature_version=(3, 10))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= set(sys.stdlib_module_names)
