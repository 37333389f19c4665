"""`make bench-quality`: what was promised of quality, by the verbs that a user types and a judge of its own.

Resumable: a row that is in bench/quality.json for the same code, data and settings is not run again, and each is
written there as soon as it is done. At the end docs/results.md is written anew. Exits 1 naming every missed bound.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, page
from bench.data import DATA
from bench.processes import ROOT
from bench.progress import say
from bench.quality.bounds import judge
from bench.quality.context import Bench
from bench.quality.results import Found, load_found, save_found
from bench.quality.rows import FIRST, SPREAD, Row, planned
from bench.quality.verbs import TimeIsUp, VerbFailed

RESULTS = ROOT / "bench" / "quality.json"
MINUTES = 120.0
NAMES = tuple(row.name for row in (*FIRST, *SPREAD))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if not (options.data / "evaluate.py").exists():
        print(f"there is no {options.data}/evaluate.py; name the data folder with --data DIR", file=sys.stderr)
        return 2
    found = {} if options.fresh and not options.only else load_found(options.results)
    settings = {name: value for name, value in os.environ.items() if name.startswith("WAYPOST_")}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was started is stopped
    bench = Bench(options.data.resolve(), time.monotonic() + 60 * options.minutes, settings)
    complaints = run_rows(bench, found, options.only, options.results, fresh=options.fresh)
    verdicts = judge(found, options.only or NAMES)
    if options.page:
        page.write(options.page)
    for line in complaints:
        print(line, file=sys.stderr)
    for verdict in verdicts:
        print(f"{'kept  ' if verdict.kept else 'MISSED'} {verdict}", file=sys.stdout if verdict.kept else sys.stderr)
    return 1 if complaints or not all(verdict.kept for verdict in verdicts) else 0


def run_rows(
    bench: Bench, found: dict[str, Found], only: Sequence[str] | None, results: Path, *, fresh: bool
) -> list[str]:
    """Run what is not there yet, adding to `found` and its file; returns what went wrong, a line each."""
    complaints, done = [], set[str]()
    while row := next((row for row in planned(found) if row.name not in done and row.name in (only or NAMES)), None):
        done.add(row.name)
        digest = row.digest(bench)
        if not fresh and row.name in found and found[row.name].digest == digest:
            say(f"{row.name}: found")
            continue
        say(row.name)
        try:
            found[row.name] = _run(row, bench, digest)
        except TimeIsUp:
            complaints.append(f"{row.name}: the time is up; run it again to go on from here")
            break
        except (VerbFailed, RuntimeError) as error:
            say(f"{row.name}: {error}")
            complaints.append(f"{row.name}: {error}")
            found.pop(row.name, None)
        save_found(results, found)
    return complaints


def _run(row: Row, bench: Bench, digest: str) -> Found:
    bench.check_time()
    started = time.monotonic()
    outcome = row.run(bench, row.seed)
    described = machine.describe()
    return Found(
        digest=digest,
        command=row.command,
        seed=row.seed,
        seconds=time.monotonic() - started,
        peak_bytes=outcome.peak_bytes,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=str(described["git_commit"]),
        uncommitted=bool(described["uncommitted_changes"]),
        machine=dict(described["machine"]),  # type: ignore[call-overload]
        figures=outcome.figures,
        settings=dict(bench.settings),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="default: ../shared/data")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="ROW", help=", ".join(NAMES))
    parser.add_argument("--fresh", action="store_true", help="run rows that are there already, too")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="then stop (default: 120)")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="default: bench/quality.json")
    parser.add_argument("--page", type=Path, default=page.PAGE, metavar="FILE", help="default: docs/results.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
