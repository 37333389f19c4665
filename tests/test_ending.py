"""A process ends when its verb is done, whatever the libraries in it would still do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# What a native library does in its destructor, here for ever: OpenBLAS joins its threads there, gRPC and OpenMP too.
PROGRAM = """
import ctypes, sys
from waypost.cli import main

libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.pause, None, None)
code = main()
sys.exit(code)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_library_that_never_takes_itself_apart_keeps_no_process(tmp_path: Path) -> None:
    done = run(tmp_path, "gateway", "key", "--id", "app", "--file", "keys.json")
    key, *others = done.stdout.splitlines()
    assert (done.returncode, others) == (0, [])
    assert key
    assert "the only time it is shown" in done.stderr


def test_the_exit_code_and_the_line_of_an_error_are_as_ever(tmp_path: Path) -> None:
    done = run(tmp_path, "evaluate", "--train", "a", "--test", "b", "--recs", "c")
    assert done.returncode not in (0, None)
    assert done.stderr.startswith("waypost: ")
    assert done.stderr.count("\n") == 1
