"""A night as the first process of its container ends on SIGTERM, to which the kernel makes that process deaf."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from waypost.cli import build_parser
from waypost.verbs import VERBS, night, refresh

SECONDS = 60
ENDED = 128 + signal.SIGTERM
SLEEPER = """
import ctypes, os, sys
from waypost.verbs.night import end_on_sigterm
end_on_sigterm(init=int(sys.argv[1]) or os.getpid())
print("ready", os.getpid(), flush=True)
busy = ctypes.CDLL(None).sleep  # like a long SELECT: Python runs no handler before it is back
while busy(60): pass
"""


def _started(*before: str, init: int) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-c", SLEEPER, str(init)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _ready(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    word, pid = process.stdout.readline().split()
    assert word == "ready"
    return int(pid)


def test_a_first_process_ends_at_once_though_it_is_in_the_middle_of_something() -> None:
    with _started(init=0) as process:
        _ready(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == ENDED


def test_another_process_is_ended_by_the_kernel_as_ever() -> None:
    with _started(init=1) as process:
        _ready(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == -signal.SIGTERM


def test_it_is_so_in_a_namespace_of_processes_of_its_own(need: Callable[[str, str], None]) -> None:
    unshare = ("unshare", "--pid", "--fork", "--kill-child")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
    ):
        need("unshare", "run as root on Linux with util-linux")
    with _started(*unshare, init=1) as process:
        assert _ready(process) == 1
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        with open(children) as found:
            first = int(found.read())
        os.kill(first, signal.SIGTERM)
        assert process.wait(SECONDS) == ENDED


@pytest.mark.parametrize("verb", ["night", "trainer", "exporter", "refresh"])
def test_every_verb_of_the_trainers_image_is_ended_so(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class AskedError(Exception):
        pass

    def asked() -> None:
        raise AskedError

    monkeypatch.setattr(night, "end_on_sigterm", asked)
    monkeypatch.setattr(refresh, "end_on_sigterm", asked)
    with pytest.raises(AskedError):
        VERBS[verb](build_parser().parse_args([verb]), {})
