"""The verbs that a user types, each in a process of its own, on an embedded stack of its own; what each took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import ROOT
from bench.progress import say
from waypost.local.stack import down, up
from waypost.settings import LocalSettings, read_settings, read_shared

WAYPOST = (str(Path(sys.executable).parent / "waypost"),)
POLL_SECONDS = 0.2
REFUSED = 3  # exit code of the gate
LIST_LENGTH = 100  # of lists from which the judge strips posts before it takes the first 20


class VerbFailed(Exception):
    def __init__(self, verb: str, exit_code: int, last_line: str) -> None:
        super().__init__(f"`{verb}` ended with {exit_code}: {last_line}")
        self.exit_code = exit_code


class TimeIsUp(Exception):
    """The bench's own; what was running is stopped and its row is run again next time."""


@dataclass(frozen=True)
class Done:
    """One verb that ended well."""

    seconds: float
    peak_bytes: int  # of its process
    stages: Mapping[str, Mapping[str, Any]]  # logged stages with their fields


@dataclass(frozen=True)
class Stack:
    """An embedded stack; `settings` are WAYPOST_ variables of every verb."""

    folder: Path
    deadline: float  # of time.monotonic()
    settings: Mapping[str, str] = field(default_factory=dict)

    def load(self, graph: Path) -> Done:
        return self._run([*WAYPOST, "load", str(graph)])

    def night(self, program: Sequence[str] = WAYPOST, accept: Sequence[str] = ()) -> Done:
        """`accept` names checks of the gate that may fail: an ablated model may well be below popularity."""
        accepted = ["--accept", *accept, "--reason", "an ablation of the bench"] if accept else []
        return self._run([*program, "night", *accepted])

    def recommend(self, output: Path, k: int = 20, posts: Path | None = None) -> Done:
        chosen = ["--posts", str(posts)] if posts else []
        return self._run([*WAYPOST, "recommend", "--all-users", "--k", str(k), *chosen, "--output", str(output)])

    def _run(self, command: Sequence[str]) -> Done:
        log = self.folder / "verb.log"
        environment = {
            **os.environ,
            **self.settings,
            "WAYPOST_LOCAL_DIR": str(self.folder / "stack"),
            "WAYPOST_LOG_STYLE": "json",
        }
        started = time.monotonic()
        with log.open("w") as errors:
            process = subprocess.Popen(
                list(command), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors, process_group=0
            )
            try:
                exit_code, peak_bytes = _wait(process, self.deadline)
            except BaseException:
                _stop(process)
                raise
        seconds = time.monotonic() - started
        lines = log.read_text().strip().splitlines()
        name = " ".join(Path(word).name for word in command if not word.startswith("-"))[:60]
        if exit_code:
            raise VerbFailed(name, exit_code, lines[-1] if lines else "")
        say(f"{name}: {seconds:.1f} s, peak {peak_bytes / 1e6:,.0f} MB")
        return Done(seconds, peak_bytes, stages_of(lines))


def _wait(process: subprocess.Popen[bytes], deadline: float) -> tuple[int, int]:
    """(exit code, peak resident bytes). wait4 tells the peak of this very child."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss * 1024
        if time.monotonic() > deadline:
            raise TimeIsUp
        time.sleep(POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """With whatever it started: it leads a process group."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stages_of(lines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every logged stage that has seconds; one that comes again is numbered."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        fields = _parsed(line)
        if "seconds" in fields and "event" in fields:
            name = str(fields["event"])
            times = sum(other.split(" (")[0] == name for other in found)
            found[f"{name} ({times + 1})" if times else name] = {
                key: value for key, value in fields.items() if key not in {"time", "level", "logger", "event"}
            }
    return found


def _parsed(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError:  # a library's own words
        return {}
    return fields if isinstance(fields, dict) else {}


@contextmanager
def a_stack(deadline: float, settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Postgres, S3 and Triton in a temporary folder; stopped and removed when the block ends."""
    with tempfile.TemporaryDirectory(prefix="waypost-quality-", ignore_cleanup_errors=True) as folder:
        local_dir = Path(folder) / "stack"
        up(local_dir, read_settings(LocalSettings, {}), read_shared({}), ["postgres", "s3", "triton"])
        try:
            yield Stack(Path(folder), deadline, dict(settings or {}))
        finally:
            down(local_dir)
