"""`make bench`: each measure beside its peers' in the same run; exits 1 naming every bound that was missed.

Seconds on one machine say little about another; the ratio of two things measured side by side says more. What is
measured stands in a module each, what it may at most be in bounds.py. A whole run writes bench/results.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import machine
from bench.bounds import Verdict, judge
from bench.measures import Section
from bench.progress import say
from bench.table import render

SECTIONS = {
    **{name: f"bench.{name}" for name in ("extraction", "increments", "csr", "scale", "night", "refresh")},
    **{name: f"bench.{name}" for name in ("propagation", "lastfm", "answering")},
    "request-path": "bench.request_path.path",
    "overload": "bench.request_path.overload",
    "observability": "bench.request_path.observability",
}  # as --only takes it -> where it is measured
RESULTS = Path(__file__).parent / "results.json"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was started is stopped
    sections = []
    for name in options.only or SECTIONS:
        say(name)
        sections.append(importlib.import_module(SECTIONS[name]).measure(options.interactions, options.rounds))
    verdicts = judge(sections)
    print(render(sections, verdicts))
    results = options.results or (None if options.only else RESULTS)
    if results:
        results.write_text(json.dumps(to_results(sections, verdicts, options.interactions), indent=2) + "\n")
    missed = [verdict for verdict in verdicts if not verdict.kept]
    for verdict in missed:
        print(f"MISSED {verdict}", file=sys.stderr)
    return 1 if missed else 0


def to_results(sections: Sequence[Section], verdicts: Sequence[Verdict], interactions: int) -> dict[str, Any]:
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine.describe(),
        "interactions": interactions,
        "sections": [asdict(section) for section in sections],
        "bounds": [{**asdict(verdict.bound), "ratio": verdict.ratio, "kept": verdict.kept} for verdict in verdicts],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="NAME", help=", ".join(SECTIONS))
    parser.add_argument("--interactions", type=int, default=2_000_000, help="of the world; the bounds are for 2 M")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved, of which the median counts")
    parser.add_argument("--results", type=Path, help="where to write them; a whole run writes bench/results.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
