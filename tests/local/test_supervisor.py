"""The supervisor with small real processes: known by pid and start time, ended with all their children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.errors import LocalStackError
from waypost.local.layout import Layout
from waypost.local.ports import is_free
from waypost.local.processes import read_holders, read_process, wait_until
from waypost.local.supervisor import PartSpec, Supervisor, folder_lock, private_environment

SLEEP = "import time; time.sleep(600)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
# A child in a session of its own, as Postgres' backends are: killing the leader's process group does not reach it.
WITH_A_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True, \
close_fds=False); {SLEEP}"


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout.of(tmp_path / "stack")
    layout.create()
    yield layout
    Supervisor(layout).stop("aws")


def a_spec(layout: Layout, script: str = SLEEP, *, ready: bool = True, **changes: object) -> PartSpec:
    values: dict[str, object] = {
        "name": "aws",
        "command": (sys.executable, "-c", script),
        "environment": private_environment(layout.root),
        "working_dir": layout.root,
        "is_ready": lambda: ready,
        "start_seconds": 5.0,
        **changes,
    }
    return PartSpec(**values)  # type: ignore[arg-type]


def leader_pid(layout: Layout) -> int:
    leader = Supervisor(layout).read_leader("aws")
    assert leader is not None
    return leader.process.pid


def test_a_part_that_runs_as_wanted_is_adopted_by_the_next_supervisor(layout: Layout) -> None:
    assert Supervisor(layout).ensure(a_spec(layout))
    pid = leader_pid(layout)
    assert not Supervisor(layout).ensure(a_spec(layout))
    assert leader_pid(layout) == pid


def test_a_part_whose_command_changed_is_restarted(layout: Layout) -> None:
    Supervisor(layout).ensure(a_spec(layout))
    pid = leader_pid(layout)
    assert Supervisor(layout).ensure(a_spec(layout, identity=("port 2",)))
    assert leader_pid(layout) != pid
    assert read_process(pid) is None


def test_a_part_that_runs_and_does_not_answer_is_restarted(layout: Layout) -> None:
    Supervisor(layout).ensure(a_spec(layout))
    pid = leader_pid(layout)
    assert Supervisor(layout, adopt_seconds=0.1).ensure(a_spec(layout, is_ready=lambda: leader_pid(layout) != pid))
    assert read_process(pid) is None


def test_a_recycled_pid_is_never_taken_for_ours(layout: Layout) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        Supervisor(layout).ensure(a_spec(layout))
        said = json.loads(layout.pid_file("aws").read_text())
        os.kill(said["pid"], signal.SIGKILL)
        recycled = {**said, "pid": bystander.pid, "started": said["started"] - 1000}  # its next owner began later
        layout.pid_file("aws").write_text(json.dumps(recycled))
        assert Supervisor(layout).read_leader("aws") is None
        Supervisor(layout).ensure(a_spec(layout))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_stopping_ends_children_that_left_the_process_group(layout: Layout) -> None:
    Supervisor(layout).ensure(a_spec(layout, WITH_A_CHILD))
    assert wait_until(lambda: len(read_holders(layout.part_lock("aws"))) == 2, 10)
    Supervisor(layout).stop("aws")
    assert read_holders(layout.part_lock("aws")) == []


def test_children_of_a_killed_leader_are_ended_before_the_next_start(layout: Layout) -> None:
    Supervisor(layout).ensure(a_spec(layout, WITH_A_CHILD))
    assert wait_until(lambda: len(read_holders(layout.part_lock("aws"))) == 2, 10)
    orphan = next(process for process in read_holders(layout.part_lock("aws")) if process.pid != leader_pid(layout))
    os.kill(leader_pid(layout), signal.SIGKILL)
    Supervisor(layout).ensure(a_spec(layout))
    assert not orphan.is_alive()


def test_a_process_without_a_pid_file_is_found_by_the_lock_it_holds(layout: Layout) -> None:
    Supervisor(layout).ensure(a_spec(layout))
    pid = leader_pid(layout)
    layout.pid_file("aws").unlink()
    Supervisor(layout).ensure(a_spec(layout))
    assert read_process(pid) is None


def test_a_cut_off_pid_file_counts_as_none(layout: Layout) -> None:
    Supervisor(layout).ensure(a_spec(layout))
    layout.pid_file("aws").write_text('{"pid": 12')
    assert Supervisor(layout).read_leader("aws") is None
    assert Supervisor(layout).ensure(a_spec(layout))


def test_a_part_that_ignores_the_stop_signal_is_killed(layout: Layout) -> None:
    spec = a_spec(layout, IGNORES_SIGTERM)
    Supervisor(layout).ensure(spec)
    process = read_process(leader_pid(layout))
    assert process is not None
    Supervisor(layout, stop_seconds=0.3).stop("aws")
    assert not process.is_alive()


def test_a_process_counts_as_dead_only_once_its_last_thread_has_let_go_of_its_port() -> None:
    with_many_threads = (
        "import socket, threading, time\nserver = socket.create_server(('127.0.0.1', 0))\nlarge = bytearray(10**8)\n"
        "for _ in range(64): threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print(server.getsockname()[1], flush=True)"
    )
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", with_many_threads], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            port = int(child.stdout.readline())
            child.kill()
            while read_process(child.pid) is not None:
                pass
            assert is_free(port)


def test_an_early_death_is_told_at_once_with_what_it_said(layout: Layout) -> None:
    script = "import sys; print('FATAL: no such thing', file=sys.stderr); print('HINT: none'); sys.exit(3)"
    with pytest.raises(LocalStackError, match=r"aws ended while it started: FATAL: no such thing; see .*aws.log"):
        Supervisor(layout).ensure(a_spec(layout, script, ready=False, start_seconds=60.0))


def test_a_part_that_never_gets_ready_is_stopped_and_told(layout: Layout) -> None:
    with pytest.raises(LocalStackError, match="aws is not ready after 0 s"):
        Supervisor(layout).ensure(a_spec(layout, ready=False, start_seconds=0.2))
    assert read_holders(layout.part_lock("aws")) == []


def test_a_program_that_does_not_exist_is_one_clear_line(layout: Layout) -> None:
    with pytest.raises(LocalStackError, match=r"aws cannot be started: .*No such file.*; run `make setup`"):
        Supervisor(layout).ensure(a_spec(layout, command=("/nowhere/ministack",)))


def test_a_dead_part_is_told_from_a_stopped_one(layout: Layout) -> None:
    supervisor = Supervisor(layout)
    supervisor.ensure(a_spec(layout))
    os.kill(leader_pid(layout), signal.SIGKILL)
    assert wait_until(lambda: supervisor.read_died() == ["aws"], 10)
    supervisor.stop("aws")
    assert supervisor.read_died() == []


def test_a_preparing_command_fails_in_one_line(layout: Layout) -> None:
    command = (sys.executable, "-c", "print('error: disk full'); raise SystemExit(1)")
    with pytest.raises(LocalStackError, match=r"for aws failed: error: disk full$"):
        Supervisor(layout).run_to_end("aws", command, private_environment(layout.root), 30)


def test_the_second_verb_waits_for_the_folder_and_then_says_so(layout: Layout) -> None:
    with (
        folder_lock(layout),
        pytest.raises(LocalStackError, match="another `waypost local` is busy"),
        folder_lock(layout, seconds=0.1),
    ):
        pass
    with folder_lock(layout, seconds=0.1):
        pass


def test_a_large_log_is_set_aside(layout: Layout) -> None:
    layout.log("aws").write_text("a line of the last run")
    Supervisor(layout, max_log_bytes=10).ensure(a_spec(layout))
    assert layout.log("aws").read_text() == ""
    assert layout.log("aws").with_suffix(".log.1").read_text() == "a line of the last run"
