"""Runs tritonserver as its child and starts it again whenever it ends, and when the worker asks for it.

A script of its own for Triton's container, with nothing but the standard library of Python 3.10 and later:

    python3 -I triton_keeper.py --repository DIR --region-prefix NAME- [--stop-seconds N] -- tritonserver …

Worker and keeper speak by files in `<DIR>/.keeper`: the worker writes a token into `restart`; the keeper kills the
server with all it started, sweeps its shared-memory regions, starts it again and writes the token into `started`.
`server.json` says what runs; `lock` is locked while a keeper lives. The server dies with its keeper, whatever ends it.
SIGTERM lets the server end in order. What Triton serves, and whether it answers, the keeper does not know."""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.05
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0  # before a server that died is started again
LONG_LIFE_SECONDS = 10.0  # a server that lived so long did not die of its start
STOP_SECONDS = 30.0  # for requests in flight at SIGTERM; tritonserver's own default
DEATH_SECONDS = 5.0  # SIGKILL is not refused; only a process in disk wait takes longer
LOCK_SECONDS = 2.0  # for the keeper before this one to be gone
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where the server and its stubs exchange tensors
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_STATE, _PARENT, _GROUP = 0, 1, 2  # fields 3 to 5 of /proc/<pid>/stat, from the state on; see proc(5)
_C = ctypes.CDLL(None, use_errno=True)
logger = logging.getLogger("triton_keeper")


class Keeper:
    def __init__(self, repository: Path, command: list[str], region_prefix: str, stop_seconds: float) -> None:
        self._folder = repository / ".keeper"
        self._command = [*command, f"--backend-config=python,shm-region-prefix-name={region_prefix}"]
        self._region_prefix, self._stop_seconds = region_prefix, stop_seconds
        self._server: subprocess.Popen[bytes] | None = None
        self._started_at, self._pause = 0.0, FIRST_PAUSE_SECONDS
        self._deaths = 0  # in a row, each but the first soon after its start
        self._start_at = 0.0  # monotonic seconds; not before
        self._token = ""  # the last restart that was asked for
        self._stopping = False

    def run(self) -> int:
        """Keep a server running until SIGTERM or SIGINT; the exit code."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("ab") as lock:
            if not _wait_until(lambda: _try_lock(lock.fileno()), LOCK_SECONDS):
                logger.error("another keeper runs for %s; stop it first", self._folder.parent)
                return 1
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            _C.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # a dead server's stubs become ours, to be killed and reaped
            self._kill_left_stubs()
            while not self._stopping:
                self._look()
                time.sleep(POLL_SECONDS)
            self._end_in_order()
        return 0

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _look(self) -> None:
        """One look at the server and at what the worker asks."""
        asked = self._read_token()
        if asked != self._token and self._server is not None:
            logger.info("restart asked for, pid %d is killed", self._server.pid)
            self._kill_group(self._server)
            self._server = None
            self._start_at = 0.0
        elif self._server is not None and _has_ended(self._server.pid):
            self._note_death(self._server)
        if self._server is None and (asked != self._token or time.monotonic() >= self._start_at):
            self._start(asked)

    def _read_token(self) -> str:
        try:
            return (self._folder / "restart").read_text(errors="replace")
        except OSError:
            return ""

    def _start(self, token: str) -> None:
        """A start also grants a restart that was asked for while nothing ran."""
        self._sweep_regions()
        self._started_at = time.monotonic()
        try:
            # Not closing files: the lock of a stack that started the keeper is told by who holds it open.
            self._server = subprocess.Popen(
                self._command, close_fds=False, start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  this process has one thread
            )  # fmt: skip
        except OSError as error:
            logger.error("%s cannot be started: %s", self._command[0], error)
            self._back_off()
        else:
            logger.info("server started, pid %d", self._server.pid)
            self._save("started", token)
        self._token = token
        self._save_server()

    def _note_death(self, server: subprocess.Popen[bytes]) -> None:
        lived = time.monotonic() - self._started_at
        self._kill_group(server)
        self._server = None
        if lived >= LONG_LIFE_SECONDS:
            self._pause, self._deaths = FIRST_PAUSE_SECONDS, 0
        logger.error(
            "server pid %d ended by itself after %.1f s (%s); started again in %.1f s",
            server.pid, lived, _how_it_ended(server.returncode), self._pause,
        )  # fmt: skip
        self._back_off()
        self._save_server()

    def _back_off(self) -> None:
        self._deaths += 1
        self._start_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _end_in_order(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            logger.info("stopping, pid %d is asked to end", server.pid)
            for number in (signal.SIGTERM, signal.SIGCONT):  # a stopped process could not even begin to end
                with suppress(ProcessLookupError):
                    os.kill(server.pid, number)
            if not _wait_until(lambda: _has_ended(server.pid), self._stop_seconds):
                logger.warning("pid %d did not end within %.0f s and is killed", server.pid, self._stop_seconds)
            self._kill_group(server)
            logger.info("server ended (%s)", _how_it_ended(server.returncode))
        self._sweep_regions()
        self._save_server()

    def _kill_group(self, server: subprocess.Popen[bytes]) -> None:
        """SIGKILL for the server and its stubs. While the server is not reaped, its number names no other group."""

        def none_left() -> bool:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            _reap_strays(server.pid)
            return _has_ended(server.pid) and not _lives_in_group(server.pid)

        if not _wait_until(none_left, DEATH_SECONDS):
            logger.error("processes of pid %d do not die; going on without", server.pid)
        server.poll()

    def _kill_left_stubs(self) -> None:
        """Those of a keeper that was killed. A stub whose server died while it held a lock in their shared memory waits
        for that lock for ever; it has the name of its region as an argument, which nobody else's begins like."""
        for pid, _ in _read_processes():
            with suppress(OSError):  # ended meanwhile
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if any(argument.startswith(self._region_prefix.encode()) for argument in arguments):
                    os.kill(pid, signal.SIGKILL)

    def _sweep_regions(self) -> None:
        for region in SHARED_MEMORY.glob(f"{self._region_prefix}*"):
            region.unlink(missing_ok=True)

    def _save_server(self) -> None:
        """What runs, for `waypost local status`."""
        pid = self._server.pid if self._server is not None else None
        self._save("server.json", json.dumps({"pid": pid, "deaths": self._deaths}))

    def _save(self, name: str, content: str) -> None:
        draft = self._folder / f"{name}.new"
        try:
            draft.write_text(content)
            draft.replace(self._folder / name)
        except OSError as error:  # a full disk must not end a server that answers
            logger.error("%s cannot be written: %s", self._folder / name, error)


def _die_with(parent: int) -> Callable[[], None]:
    """Runs in the child before it becomes the server: SIGKILL when the parent ends, even by SIGKILL."""

    def bind() -> None:
        _C.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended meanwhile
            os._exit(1)

    return bind


def _has_ended(pid: int) -> bool:
    """Whether our child is a zombie; it is left one."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _reap_strays(server: int) -> None:
    """Ask for the end of every dead child but the server."""
    for pid, fields in _read_processes():
        if pid != server and fields[_STATE] == "Z" and int(fields[_PARENT]) == os.getpid():
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _lives_in_group(group: int) -> bool:
    return any(int(fields[_GROUP]) == group and fields[_STATE] not in "ZX" for _, fields in _read_processes())


def _read_processes() -> list[tuple[int, list[str]]]:
    """Every pid with the fields of its /proc/<pid>/stat from the state on."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # ended meanwhile
            stat = Path(f"/proc/{pid}/stat").read_text()
            found.append((int(pid), stat.rpartition(")")[2].split()))  # the name, in parentheses, may hold spaces
    return found


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "not known"
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Runs tritonserver and starts it again when it ends or is to.")
    parser.add_argument("--repository", type=Path, required=True, help="the folder tritonserver loads models from")
    parser.add_argument("--region-prefix", required=True, help="of its shared-memory regions, and nobody else's")
    parser.add_argument("--stop-seconds", type=float, default=STOP_SECONDS, help="from SIGTERM to SIGKILL")
    parser.add_argument("command", nargs="+", help="tritonserver and its options, after --")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
    return Keeper(options.repository, options.command, options.region_prefix, options.stop_seconds).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
