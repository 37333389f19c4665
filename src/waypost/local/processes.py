"""Which processes are ours, told from /proc: a leader by pid and start time, its family by the lock file they hold
open.

A pid alone is no proof, the kernel hands it out again; pid and start time are. Postgres' backends and Triton's stubs
leave the leader's process group or outlive it, but none closes the lock file that the leader inherited: whoever has
it open belongs to the part, and while anyone has, the lock is taken. That also holds when the pid file was never
written.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from waypost.local.unprivileged import as_unprivileged

POLL_SECONDS = 0.02  # how often a wait looks again
_FIND_SECONDS = 10.0
_KILL_WAIT_SECONDS = 5.0  # SIGKILL is not refused; only a process in disk wait takes longer
_STATE, _THREADS, _START_TIME = 0, 17, 19  # fields 3, 20 and 22 of /proc/<pid>/stat, from the state on; see proc(5)

# A dead child stays a zombie until its parent asks for it, so children are kept until they were asked for.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Process:
    pid: int
    started: int  # clock ticks since boot

    def is_alive(self) -> bool:
        return read_process(self.pid) == self


def read_process(pid: int) -> Process | None:
    """The running process with that pid; None when there is none, or only its zombie."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name, in parentheses, may hold spaces
    # While other threads end, the first one is a zombie already and the process' ports are still taken.
    dead = fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1
    return None if dead else Process(pid, int(fields[_START_TIME]))


def _reap_all() -> None:
    """At the end of this process: a child that was stopped meanwhile is not "still running"."""
    for child in _children.values():
        child.poll()


atexit.register(_reap_all)


def keep_child(child: subprocess.Popen[bytes]) -> Process | None:
    """Remember a child so that it is reaped once dead; None when it is dead already."""
    _children[child.pid] = child
    return read_process(child.pid)


def read_holders(path: Path) -> list[Process]:
    """Every process but this one that has `path` open, also where the file was deleted since."""
    names = {str(path), f"{path} (deleted)"}
    pids = {int(entry) for entry in os.listdir("/proc") if entry.isdecimal()} - {os.getpid()}
    files = {pid: _open_files(pid) for pid in pids}
    holders = {pid for pid, open_files in files.items() if open_files is not None and names & open_files}
    hidden = [pid for pid, open_files in files.items() if open_files is None]
    found = (read_process(pid) for pid in sorted(holders | _find_as_unprivileged(names, hidden)))
    return [process for process in found if process is not None]


def _open_files(pid: int) -> set[str] | None:
    """None: not for us to see."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return {_link(entry.path) for entry in entries}
    except PermissionError:
        return None
    except OSError:  # ended meanwhile
        return set()


def _find_as_unprivileged(names: set[str], pids: list[int]) -> set[int]:
    """Root in a container may not look into our Postgres, which runs as another user; that user may."""
    if os.geteuid() != 0 or not pids:
        return set()
    wanted = [word for name in sorted(names) for word in ("-o", "-lname", _literal(name))][1:]
    command = (*as_unprivileged(), "find", *(f"/proc/{pid}/fd" for pid in pids), *wanted)
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=_FIND_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {int(line.split("/")[2]) for line in found.splitlines()}


def _literal(name: str) -> str:
    """A pattern that matches only this name."""
    return re.sub(r"([][*?\\])", r"\\\1", name)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:  # closed meanwhile
        return ""


def stop_process(process: Process, stop_signal: signal.Signals, seconds: float) -> bool:
    """Ask the process to end; False when it had not ended after `seconds`."""
    if process.is_alive():
        _send(process.pid, stop_signal)
        _send(process.pid, signal.SIGCONT)  # a stopped process could not even begin to end
    return wait_until(lambda: not process.is_alive(), seconds)


def kill_holders(path: Path) -> bool:
    """SIGKILL whoever holds `path`; False when somebody still does."""

    def none_left() -> bool:
        holders = read_holders(path)
        for process in holders:
            _send(process.pid, signal.SIGKILL)
        return not holders

    return wait_until(none_left, _KILL_WAIT_SECONDS)


def _send(pid: int, sent: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sent)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look until `condition` holds, at least once; False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
