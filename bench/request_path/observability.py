"""What observing costs: CPU a request of gateway and worker with all that is on by default, against off, in pairs.

Two stacks of the same release are loaded at the same moment, at saturation; one of them observes, then the other, again
and again, switched while they run (`switched/sitecustomize.py`). A pair has each state in each stack, so neither what
else the machine does meanwhile counts, nor what tells two processes of one program apart (where their memory lies, how
their dictionaries are seeded). Both are larger than what is measured: ratios of loads in turn scattered by 17 %, those
of two processes by 5 % for as long as they lived.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.measures import Measure, Section
from bench.processes import OWN, started
from bench.progress import say
from bench.request_path.loads import OURS, Load, Loader
from bench.request_path.serving import serving

SWITCHED = Path(__file__).parent / "switched"
FILE = "BENCH_OBSERVING"  # as sitecustomize has it
ON, OFF = b"1", b"0"
STACKS = 2
CONCURRENCY, WARM_UP_SECONDS, SECONDS = 32, 3.0, 1.5  # requests at a time on each: 64 on the machine
SWITCH_SECONDS = 0.1  # until both have seen it
PAIRS = 40
CONFIDENCE_DEVIATIONS = 1.96  # standard errors of a 95 % interval


class Stack:
    """One of the two, and its switch."""

    def __init__(self, running: ExitStack, switch: Path) -> None:
        self._switch = switch
        self.observe(ON)
        path = os.pathsep.join([str(SWITCHED), *filter(None, [os.environ.get("PYTHONPATH")])])
        served = running.enter_context(serving({"PYTHONPATH": path, FILE: str(switch)}))
        self._loader = Loader(served, running.enter_context(started(OWN, "bench.request_path.generator")))

    def observe(self, state: bytes) -> None:
        self._switch.write_bytes(state)

    def load(self, seconds: float) -> Load:
        return self._loader.closed(CONCURRENCY, seconds)


@dataclass(frozen=True)
class Pair:
    """Each stack's load while it observed, and while it did not."""

    on: tuple[Load, ...]
    off: tuple[Load, ...]

    def cpu(self, state: str, parts: Sequence[str] = OURS) -> float:
        """ms a request, the geometric mean over the stacks: what tells them apart cancels in a ratio of two."""
        loads = self.on if state == "on" else self.off
        return statistics.geometric_mean(sum(load.cpu[part] for part in parts) for load in loads)

    def ratio(self, parts: Sequence[str] = OURS) -> float:
        return self.cpu("on", parts) / self.cpu("off", parts)


def measure(interactions: int, rounds: int) -> Section:
    """Of a world of its own, whatever the other one's size."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="waypost-switches-")))
        stacks = [Stack(running, folder / str(number)) for number in range(STACKS)]
        threads = running.enter_context(ThreadPoolExecutor(STACKS))
        _together(stacks, threads, (ON, ON), WARM_UP_SECONDS)
        pairs = []
        for number in range(PAIRS):
            pairs.append(_pair(stacks, threads, first_on=number % 2))
            say(f"pair {number + 1} of {PAIRS}: {pairs[-1].ratio():.3f}")
    return section_of(pairs)


def _pair(stacks: Sequence[Stack], threads: Executor, first_on: int) -> Pair:
    """`first_on`: which stack observes first; on, off, off, on over two pairs."""
    on: list[Load] = []
    off: list[Load] = []
    for observing in (first_on, 1 - first_on):
        states = [ON if number == observing else OFF for number in range(STACKS)]
        for state, load in zip(states, _together(stacks, threads, states, SECONDS), strict=True):
            (on if state == ON else off).append(load)
    return Pair(tuple(on), tuple(off))


def _together(stacks: Sequence[Stack], threads: Executor, states: Sequence[bytes], seconds: float) -> list[Load]:
    for stack, state in zip(stacks, states, strict=True):
        stack.observe(state)
    time.sleep(SWITCH_SECONDS)
    return list(threads.map(lambda stack: stack.load(seconds), stacks))


def section_of(pairs: Sequence[Pair]) -> Section:
    ratios = sorted(pair.ratio() for pair in pairs)
    low, high = interval_of_median(ratios)
    return Section(
        "observability",
        "all that is observed in gateway and worker, on against off",
        (
            Measure("CPU a request, on", "ms", *_on_and_off(pairs, OURS)),
            *(Measure(f"  {part}", "ms", *_on_and_off(pairs, (part,))) for part in OURS),
        ),
        notes=(
            f"the median of {len(pairs)} pairs' ratios, times the median of off",
            f"{statistics.median(ratios):.3f}, 95 % interval {low:.3f} to {high:.3f}; "
            f"pairs {ratios[0]:.3f} to {ratios[-1]:.3f}",
            f"{CONCURRENCY} requests at a time on each of two stacks, four loads of {SECONDS:g} s a pair",
        ),
        rounds=len(pairs),
    )


def interval_of_median(ordered: Sequence[float]) -> tuple[float, float]:
    """Its 95 % interval, whatever the distribution: the order statistics that a fair coin's binomial leaves outside."""
    count = len(ordered)
    outside = max(0, int((count - CONFIDENCE_DEVIATIONS * math.sqrt(count)) / 2))
    return ordered[outside], ordered[count - 1 - outside]


def _on_and_off(pairs: Sequence[Pair], parts: Sequence[str]) -> tuple[float, dict[str, float]]:
    """ms a request, `on` and its peer."""
    off = statistics.median(pair.cpu("off", parts) for pair in pairs)
    return off * statistics.median(pair.ratio(parts) for pair in pairs), {"off": off}
