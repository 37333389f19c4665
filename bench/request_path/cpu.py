"""Processor time and memory of processes with all that descend from them, as Linux counts them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")
CPUCLOCK_SCHED = 2  # clock_getcpuclockid(3) of Linux: a process' clock is made of its id and this
TICKS, PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and of its living descendants, and of their children that have ended."""
    return sum(_own_seconds(one) + _ended_children_ticks(one) / TICKS for one in family(pid))


def family(pid: int) -> list[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children[int(fields[1])].append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children[found[-1]]
    return found


class CpuClock:
    """Seconds of processor time since it was made, by name."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._began = {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def read(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) - self._began[name] for name, pid in self._pids.items()}


def _own_seconds(pid: int) -> float:
    """By the process' own clock, to the nanosecond: /proc counts ticks of 10 ms, a tenth of what a short load takes."""
    try:
        return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except (OSError, OverflowError):  # it is gone, or no process can have such an id
        return 0.0


def _ended_children_ticks(pid: int) -> int:
    fields = _stat(pid)
    return sum(int(field) for field in fields[13:15]) if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields after the name: state, parent, …; empty for a process that is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def resident_bytes(pid: int) -> int:
    """Of the process alone; 0 when it is gone."""
    try:
        return PAGE_BYTES * int((PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
