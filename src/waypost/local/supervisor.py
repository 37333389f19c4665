"""Starts, adopts and stops the processes of one stack folder; knows nothing of what the parts are.

A part runs in a session of its own, so it outlives the verb that started it, writes to `logs/<part>.log`, and is
known by `run/<part>.pid`. Starting is healing: a part that runs as wanted and answers is adopted, anything else that
is left of it is stopped first. A pid file of a dead process means that it died; stopping on purpose removes the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from waypost.errors import LocalStackError
from waypost.local.layout import ALL_PARTS, Layout, PartName, save_private
from waypost.local.processes import Process, keep_child, kill_holders, stop_process, wait_until

logger = logging.getLogger(__name__)

FOLDER_LOCK_SECONDS = 90.0  # the slowest `up` is over by then
PART_LOCK_SECONDS = 2.0  # a child of ours that is between fork and exec has every file of ours open
ADOPT_SECONDS = 3.0  # what a running part gets to answer before it is taken for half-dead
STOP_SECONDS = 15.0  # Postgres' closing checkpoint on a slow disk
_SPEAKS_OF_ERROR = re.compile(r"FATAL|PANIC|error", re.IGNORECASE)
MAX_LOG_BYTES = 16 * 2**20  # then the log is set aside, one generation is kept


@dataclass(frozen=True)
class PartSpec:
    """How to run one part. `is_ready` asks the part itself, with a short timeout; LocalStackError ends the wait."""

    name: PartName
    command: tuple[str, ...]
    environment: Mapping[str, str]  # all of it: nothing is inherited
    working_dir: Path
    is_ready: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    start_seconds: float = 30.0
    identity: tuple[str, ...] = ()  # what tells it from the same command started otherwise; another one is restarted
    before_start: Callable[[], None] = lambda: None  # runs once nothing is left of the part, right before it starts
    start_failed: Callable[[], bool] = lambda: False  # whether waiting for it is in vain though its leader lives

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self.command, self.identity]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Leader:
    """What a pid file says."""

    process: Process
    stop_signal: signal.Signals
    fingerprint: str


@contextmanager
def folder_lock(layout: Layout, seconds: float = FOLDER_LOCK_SECONDS) -> Iterator[None]:
    """One verb at a time changes a stack; the kernel frees the lock of a killed one."""
    with layout.folder_lock.open("a") as file:
        if not wait_until(lambda: _try_lock(file.fileno()), seconds):
            raise LocalStackError(f"another `waypost local` is busy in {layout.root}", "wait for it, or stop it")
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Supervisor:
    """The caller holds the folder lock while it starts or stops."""

    def __init__(
        self,
        layout: Layout,
        *,
        adopt_seconds: float = ADOPT_SECONDS,
        stop_seconds: float = STOP_SECONDS,
        max_log_bytes: int = MAX_LOG_BYTES,
    ) -> None:
        self._layout = layout
        self._adopt_seconds, self._stop_seconds, self._max_log_bytes = adopt_seconds, stop_seconds, max_log_bytes

    def read_leader(self, part: PartName) -> Leader | None:
        """The running leader of a part; None when it never ran, was stopped, or died."""
        leader = self._read_pid_file(part)
        return leader if leader is not None and leader.process.is_alive() else None

    def read_died(self) -> list[PartName]:
        """Parts that ended without being stopped."""
        left = {part: self._read_pid_file(part) for part in ALL_PARTS}
        return [part for part, leader in left.items() if leader is not None and not leader.process.is_alive()]

    def ensure(self, spec: PartSpec) -> bool:
        """Have the part running as wanted and ready; True when it had to be started."""
        leader = self.read_leader(spec.name)
        if (
            leader is not None
            and leader.fingerprint == spec.fingerprint()
            and wait_until(spec.is_ready, self._adopt_seconds)
        ):
            return False
        self.stop(spec.name)
        spec.before_start()
        process, log_start = self._start(spec)
        self._wait_ready(spec, process, log_start)
        logger.info("part started", extra={"part": spec.name, "pid": process.pid})
        return True

    def stop(self, part: PartName) -> None:
        """Stop a part and everything that is left of it."""
        leader = self.read_leader(part)
        if leader is not None and not stop_process(leader.process, leader.stop_signal, self._stop_seconds):
            logger.warning("part did not stop and is killed", extra={"part": part})
            stop_process(leader.process, signal.SIGKILL, self._stop_seconds)
        if not kill_holders(self._layout.part_lock(part)):
            raise LocalStackError(
                f"a process of {part} cannot be ended", f"see who has {self._layout.part_lock(part)} open"
            )
        self._layout.pid_file(part).unlink(missing_ok=True)

    def run_to_end(
        self, part: PartName, command: tuple[str, ...], environment: Mapping[str, str], seconds: float
    ) -> None:
        """Run a command that prepares a part, as one of its processes; raises LocalStackError with its last line."""
        with self._part_lock(part) as lock:
            try:
                subprocess.run(
                    command, env=dict(environment), cwd=self._layout.root, pass_fds=(lock,), start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                    check=True,
                )  # fmt: skip
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                said = _telling_line(error.stdout or b"") or f"no answer within {seconds:.0f} s"
                raise LocalStackError(f"{Path(command[0]).name} for {part} failed: {said}") from None

    def _start(self, spec: PartSpec) -> tuple[Process, int]:
        log = self._layout.log(spec.name)
        if log.exists() and log.stat().st_size > self._max_log_bytes:
            log.replace(log.with_suffix(".log.1"))
        with self._part_lock(spec.name) as lock, log.open("ab") as output:
            log_start = output.tell()
            try:
                child = subprocess.Popen(
                    spec.command, env=dict(spec.environment), cwd=spec.working_dir, pass_fds=(lock,),
                    start_new_session=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )  # fmt: skip
            except OSError as error:
                raise LocalStackError(f"{spec.name} cannot be started: {error}", "run `make setup`") from None
        process = keep_child(child)
        if process is None:
            raise self._early_death(spec, log_start)
        self._save_pid_file(spec, process)
        return process, log_start

    def _wait_ready(self, spec: PartSpec, process: Process, log_start: int) -> None:
        def failed() -> bool:
            return not process.is_alive() or spec.start_failed()

        try:
            in_time = wait_until(lambda: failed() or spec.is_ready(), spec.start_seconds)
            if failed():
                raise self._early_death(spec, log_start)
            if not in_time:
                log = self._layout.log(spec.name)
                raise LocalStackError(f"{spec.name} is not ready after {spec.start_seconds:.0f} s", f"see {log}")
        except BaseException:
            self.stop(spec.name)
            raise

    def _early_death(self, spec: PartSpec, log_start: int) -> LocalStackError:
        log = self._layout.log(spec.name)
        said = _telling_line(log.read_bytes()[log_start:]) or "it said nothing"
        return LocalStackError(f"{spec.name} ended while it started: {said}", f"see {log}")

    @contextmanager
    def _part_lock(self, part: PartName) -> Iterator[int]:
        """The part's lock file, locked; a child that inherits it keeps it locked until its whole family has ended."""
        path = self._layout.part_lock(part)
        with path.open("a") as file:
            if not wait_until(lambda: _try_lock(file.fileno()), PART_LOCK_SECONDS):
                raise LocalStackError(
                    f"{part} of this folder runs where this machine cannot see it", f"see who locks {path}"
                )
            yield file.fileno()

    def _read_pid_file(self, part: PartName) -> Leader | None:
        try:
            said = json.loads(self._layout.pid_file(part).read_text())
            process = Process(int(said["pid"]), int(said["started"]))
            return Leader(process, signal.Signals(said["stop_signal"]), str(said["fingerprint"]))
        except (OSError, ValueError, KeyError, TypeError):  # none, or cut off by a crash: the lock finds the process
            return None

    def _save_pid_file(self, spec: PartSpec, process: Process) -> None:
        said = {
            "pid": process.pid, "started": process.started,
            "stop_signal": int(spec.stop_signal), "fingerprint": spec.fingerprint(),
        }  # fmt: skip
        save_private(self._layout.pid_file(spec.name), json.dumps(said))


def private_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of an embedded part: nothing of the caller's gets in."""
    return {"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC", **more}


def _telling_line(output: bytes) -> str:
    """The last line that speaks of an error, else the last one."""
    lines = output.decode(errors="replace").strip().splitlines() or [""]
    return next((line for line in reversed(lines) if _SPEAKS_OF_ERROR.search(line)), lines[-1]).strip()
