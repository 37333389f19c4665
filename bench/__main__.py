"""`make bench`: each measure beside its peer in the same run, rounds interleaved, medians; writes bench/results.json.

Seconds on one machine say little about another; the ratio of two things measured side by side says more.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import answering, extraction, propagation

ROUNDS = 5
RESULTS = Path(__file__).parent / "results.json"
Measure = tuple[str, Callable[[], object], str, Callable[[], object]]  # ours, run it, the peer, run it


def main() -> int:
    results = []
    for module in (extraction, propagation, answering):
        with module.prepared() as measures:
            results += [compare(*measure) for measure in measures]
    content = {"python": platform.python_version(), "machine": platform.machine(), "rounds": ROUNDS, "results": results}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def compare(ours: str, run_ours: Callable[[], object], peer: str, run_peer: Callable[[], object]) -> dict[str, object]:
    """Seconds of both, medians of interleaved rounds after one warm-up each, and how many times faster ours is."""
    run_ours(), run_peer()
    seconds: dict[str, list[float]] = {ours: [], peer: []}
    for _ in range(ROUNDS):
        for name, run in ((ours, run_ours), (peer, run_peer)):
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians[peer] / medians[ours]
    print(
        f"{ours}: {medians[ours]:.3f} s   {peer}: {medians[peer]:.3f} s   ratio {ratio:.1f}",
        file=sys.stderr,
        flush=True,
    )
    return {"ours": ours, "peer": peer, "seconds": medians, "ratio": round(ratio, 2)}


if __name__ == "__main__":
    sys.exit(main())
