"""Far past capacity: an open loop at 1, 2, 5 and 10 times what the worker, throttled by a setting, can do.

Each load is one run without a pause: a quiet phase before, the load, five seconds in which to recover, a quiet phase
after. Goodput is what a caller wanted: 200, ranked by the model, inside the deadline, counted from the intended send
time, whether or not the generator came to send it then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.measures import Measure, Section
from bench.processes import OWN, started
from bench.progress import say
from bench.request_path.cpu import resident_bytes
from bench.request_path.loads import OURS, USUAL_MS, Loader
from bench.request_path.serving import Serving, serving

CAPACITY = 60.0  # requests/s, by the setting
TIMES = (1, 2, 5, 10)
THROTTLE = {"WAYPOST_WORKER_MAX_REQUESTS_PER_SECOND": str(CAPACITY)}
QUIET = CAPACITY / 2
BEFORE_SECONDS, LOAD_SECONDS, RECOVERY_SECONDS, AFTER_SECONDS = 4.0, 12.0, 5.0, 6.0
WARM_UP_TIMES, WARM_UP_SECONDS = 10, 8.0  # connections and buffers of the largest load, before memory is first read
TRANSPORT_SECONDS = 0.05  # an answer by the deadline is still on its way
P99_LIMIT_MS = 250.0
FINE = frozenset({"graphsage", "degraded", "429"})  # what a valid request may get


@dataclass(frozen=True)
class Run:
    """One load at so many times the capacity."""

    goodput: float  # answers/s
    wrong: int  # answers that are none of the fine ones, or came after the deadline
    kinds: Mapping[str, int]
    p99: Mapping[str, float]  # ms, of each phase
    late_sends: float  # seconds, at most


def measure(interactions: int, rounds: int) -> Section:
    """Of a world of its own, whatever the other one's size."""
    with serving(THROTTLE) as served, started(OWN, "bench.request_path.generator") as generator:
        load = Loader(served, generator)
        load.open([(WARM_UP_TIMES * CAPACITY, WARM_UP_SECONDS), (QUIET, RECOVERY_SECONDS)])
        memory = [_memory(served)]
        runs = {}
        for times in TIMES:
            runs[times] = _run(load, times)
            memory.append(_memory(served))
            say(f"{times}x: {runs[times].goodput:.1f} good answers/s, {dict(runs[times].kinds)}")
    return section_of(runs, memory)


def _run(load: Loader, times: int) -> Run:
    phases = {
        "before": (QUIET, BEFORE_SECONDS), "load": (times * CAPACITY, LOAD_SECONDS),
        "recovery": (QUIET, RECOVERY_SECONDS), "after": (QUIET, AFTER_SECONDS),
    }  # fmt: skip
    found = load.open(list(phases.values())).found
    told = dict(zip(phases, found["phases"], strict=True))
    return Run(
        goodput=_good(told["load"]) / LOAD_SECONDS,
        wrong=_wrong(found),
        kinds=told["load"]["kinds"],
        p99={name: 1e3 * phase["latency"]["p99"] for name, phase in told.items()},
        late_sends=found["late_sends"],
    )


def _good(phase: Mapping[str, Any]) -> int:
    return bisect_right(phase["by_model"], USUAL_MS / 1e3)


def _wrong(found: Mapping[str, Any]) -> int:
    return sum(count for kind, count in found["kinds"].items() if kind not in FINE)


def _memory(served: Serving) -> int:
    return sum(resident_bytes(served.pid(part)) for part in ("gateway", "worker"))


def section_of(runs: Mapping[int, Run], memory: Sequence[int]) -> Section:
    """`memory`: bytes before all and after each."""
    best, worst = max(run.goodput for run in runs.values()), runs[max(runs)]
    return Section(
        "overload",
        f"open loop on a worker of {CAPACITY:.0f} requests/s",
        (
            *(Measure(f"goodput at {n}x", "requests/s", run.goodput, {"the best": best}) for n, run in runs.items()),
            *(Measure(f"  answers at {n}x, p99", "ms", run.p99["load"], {}) for n, run in runs.items()),
            Measure("neither 200 nor 429", "answers", sum(run.wrong for run in runs.values()), {"one": 1}),
            Measure(
                f"p99 from 5 s after {max(runs)}x", "ms", worst.p99["after"],
                {"250 ms": P99_LIMIT_MS, "before": worst.p99["before"]},
            ),
            Measure("memory after all", "bytes", memory[-1], {"before": memory[0]}),
        ),
        notes=(
            *(f"{n}x: {_told(run)}" for n, run in runs.items()),
            f"deadline {USUAL_MS} ms, latency from the intended send time; {OURS[0]}'s and {OURS[1]}'s memory",
            f"the generator sent at most {1e3 * max(run.late_sends for run in runs.values()):.0f} ms late",
        ),
    )  # fmt: skip


def _told(run: Run) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(run.kinds.items()))
    before, recovery, after = (run.p99[name] for name in ("before", "recovery", "after"))
    return f"{kinds}; p99 before {before:.0f} ms, in the next 5 s {recovery:.0f} ms, then {after:.0f} ms"
