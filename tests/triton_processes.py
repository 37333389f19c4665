"""The processes of a running Triton, for tests that kill and stop them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 30.0  # a limit of patience, not a measure


def server_of(repository: Path) -> int:
    """The pid of the tritonserver that the keeper of this repository runs now."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            pid = json.loads((repository / ".keeper" / "server.json").read_text())["pid"]
            if pid is not None:
                return int(pid)
        time.sleep(0.01)
    raise AssertionError(f"no server runs for {repository}")


def find_stub(path: Path) -> int | None:
    """The pid of the python stub that runs the model, or the version of one, in this folder."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if command.split(b"\0")[0].endswith(b"triton_python_backend_stub") and f"{path}/".encode() in command:
                    return int(process.name)
    return None


def stub_of(path: Path) -> int:
    found = find_stub(path)
    assert found is not None, f"no stub runs {path}"
    return found


def wait_until_no_stub_runs(path: Path) -> None:
    """Triton answers an unload before the stub has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while find_stub(path) is not None:
        assert time.monotonic() < deadline, f"a stub still runs {path}"
        time.sleep(0.01)


def send_to_stub_once_it_runs(path: Path, number: int, stop: Callable[[], bool]) -> None:
    """For a thread beside a load: look for the stub until it is there or `stop` says so."""
    while not stop():
        pid = find_stub(path)
        if pid is not None:
            os.kill(pid, number)
            return
        time.sleep(0.001)
