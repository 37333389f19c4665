"""The inside of a measured process: commands come as lines of JSON, each runs once and is measured where it runs.

So a peer's interpreter, memory and threads are its own, it is warm as ours is, and rounds can be interleaved. Standard
library only: both environments import this.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Command = tuple[Callable[..., Any], Callable[[Any], dict[str, Any]]]  # run it; what to tell of its result, unmeasured
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def serve(commands: Mapping[str, Command]) -> None:
    """Answer every line of standard input until it ends; whatever else is printed goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    print("{}", file=answers, flush=True)  # imported everything, ready
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(measure(*commands[name], arguments)), file=answers, flush=True)


def measure(run: Callable[..., Any], describe: Callable[[Any], dict[str, Any]], arguments: Any) -> dict[str, Any]:
    CLEAR_REFS.write_text("5")  # the peak starts again from what is resident now
    before = read_bytes("VmRSS")
    cpu, started = time.process_time(), time.perf_counter()
    result = run(**arguments)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = read_bytes("VmHWM")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak - before,
        "process_peak_bytes": peak,
        **describe(result),
    }


def read_bytes(field: str) -> int:
    """VmRSS: resident now; VmHWM: at most since the peak was last cleared."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
