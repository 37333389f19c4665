"""What measuring ourselves costs: CPU a request of gateway and worker with their metrics on, against off, paired.

Two stacks of the same release stand side by side and take turns under load, at saturation, where batches are full and
of one size either way. Half way they change parts, so that whatever else tells the two apart cancels out.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from bench.measures import Measure, Section
from bench.processes import OWN, started
from bench.progress import say
from bench.request_path.loads import Load, Loader
from bench.request_path.serving import serving

SETTINGS = {
    "on": {"WAYPOST_GATEWAY_METRICS": "on", "WAYPOST_WORKER_METRICS": "on"},
    "off": {"WAYPOST_GATEWAY_METRICS": "off", "WAYPOST_WORKER_METRICS": "off"},
}
CONCURRENCY, WARM_UP_SECONDS, SECONDS = 64, 2.0, 4.0
PAIRS = 10  # one is off by some percent either way


def measure(interactions: int, rounds: int) -> Section:
    """Of a world of its own, whatever the other one's size."""
    found: dict[str, list[Load]] = {"on": [], "off": []}
    with ExitStack() as stack:
        stacks = [stack.enter_context(serving(SETTINGS[name])) for name in found]
        generator = stack.enter_context(started(OWN, "bench.request_path.generator"))
        for half, names in enumerate((("on", "off"), ("off", "on"))):
            loaders = {}
            for name, served in zip(names, stacks, strict=True):
                if half:
                    served.restart(SETTINGS[name])
                loaders[name] = Loader(served, generator)
                loaders[name].closed(CONCURRENCY, WARM_UP_SECONDS)
            for number in range(PAIRS // 2):
                _pair(found, loaders, number)
    return section_of(found)


def _pair(found: dict[str, list[Load]], loaders: dict[str, Loader], number: int) -> None:
    for name in list(loaders) if number % 2 else reversed(list(loaders)):
        found[name].append(loaders[name].closed(CONCURRENCY, SECONDS))
        say(f"pair {len(found[name])} of {PAIRS}  {name}: {found[name][-1].our_cpu:.3f} ms")


def section_of(found: dict[str, list[Load]]) -> Section:
    """`found`: on and off, a load of each pair."""
    cpu = {name: [load.our_cpu for load in loads] for name, loads in found.items()}
    ratios = [on / off for on, off in zip(cpu["on"], cpu["off"], strict=True)]
    pairs, off, middle = len(ratios), statistics.median(cpu["off"]), statistics.median(ratios)
    return Section(
        "observability",
        "metrics of gateway and worker, on against off",
        (
            Measure("CPU a request, on", "ms", middle * off, {"off": off}),
            *(
                Measure(f"  {part}", "ms", _median(found["on"], part), {"off": _median(found["off"], part)})
                for part in ("gateway", "worker")
            ),
        ),
        notes=(
            f"the median of {pairs} pairs' ratios ({min(ratios):.3f} to {max(ratios):.3f}), times the median of off",
            f"{CONCURRENCY} requests at a time",
        ),
        rounds=pairs,
    )


def _median(loads: list[Load], part: str) -> float:
    return statistics.median(load.cpu[part] for load in loads)
