"""Processes of the tests' cluster: started with a log each, ended all together, whatever happened."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.1
DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")  # of util-linux: a killed test run leaves nothing behind
STOP_SECONDS = 20.0
SAID_LINES = 15  # of a log, when its process is at fault


class Running:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Nothing of the environment is inherited but PATH: no variable of whoever runs the tests gets in."""
        given = {"PATH": os.defpath, "HOME": str(self._folder), **(environment or {})}
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [*DIES_WITH_US, *(str(word) for word in command)],
                env=given,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._processes[name] = process
        return process

    def wait(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Until it is ready; its last words where it ended or never was."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._processes[name].poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{name} is not ready after {seconds:.0f} s:\n{self.said(name)}")
            time.sleep(POLL_SECONDS)

    def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=STOP_SECONDS)

    def stop_all(self) -> None:
        """The last one started goes first."""
        for name in reversed(list(self._processes)):
            self.stop(name)

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def said(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-SAID_LINES:])


def wait_for(what: str, holds: Callable[[], object], seconds: float) -> None:
    """Until it holds; fails with `what` and the last thing seen."""
    deadline = time.monotonic() + seconds
    while not (seen := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s still not: {what} (last seen: {seen!r})")
        time.sleep(POLL_SECONDS)
