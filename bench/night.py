"""The story's own figure: a whole night's stages, with the cache empty, warm, and after 1 % of the rows changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from bench.changes import change, read_last
from bench.measures import Measure, Section
from bench.processes import ROOT
from bench.progress import say
from bench.world import world

EMPTY, WARM, CHANGED = "cache empty", "warm, nothing changed", "warm, 1 % changed"
WHOLE = "night done"  # the stage around all others
READ_STAGES = (
    "schema checked", "snapshot read", "digests read", "changes read", "base awaited", "tensors built", "tensors kept",
)  # fmt: skip
BYTES = {"postgres_bytes": "from Postgres", "s3_read_bytes": "from S3", "s3_written_bytes": "to S3"}
Stages = dict[str, dict[str, float]]  # stage -> seconds and bytes; one that comes again has its number


def measure(interactions: int, rounds: int) -> Section:
    """One night each: training is two minutes of it, and what it says is a sum of stages, not a ratio."""
    with world(interactions, ["postgres", "s3", "sqs", "triton"]) as (stack, local_dir):
        last = read_last(stack.postgres_dsn)
        nights = {EMPTY: run_night(local_dir), WARM: run_night(local_dir)}
        change(stack.postgres_dsn, last, interactions, seed=1)
        nights[CHANGED] = run_night(local_dir)
    stages = [measure for stage in _stages(nights) for measure in _stage(stage, nights)]
    return Section(
        "night",
        f"a night at {interactions:,} interactions",
        (_sum("the whole night", (WHOLE,), nights), _sum("the data half of it", READ_STAGES, nights), *stages),
        ours=EMPTY,
        notes=(
            "one night each; the data half: connect to tensors built and kept",
            "bytes: of COPY and of objects; a stage gets what came since the stage before it ended",
        ),
    )


def run_night(local_dir: Path) -> Stages:
    log = local_dir / "night.log"
    with log.open("w") as errors:
        lines, exit_code = _run(local_dir, errors)
    if exit_code:
        raise RuntimeError(f"`waypost night` ended with {exit_code}: {log.read_text().strip().splitlines()[-1:]}")
    return by_stage(lines)


def _run(local_dir: Path, errors: TextIO) -> tuple[list[dict[str, Any]], int]:
    night = subprocess.Popen(
        [sys.executable, "-m", "bench.counted_night"],
        cwd=ROOT,
        env={**os.environ, "WAYPOST_LOCAL_DIR": str(local_dir), "WAYPOST_LOG_STYLE": "json"},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    assert night.stdout
    lines = []
    for line in night.stdout:
        if line.startswith("{"):  # the last one names the release
            lines.append(json.loads(line))
            say(f"night: {lines[-1]['stage']} {lines[-1]['seconds']:.1f} s")
    return lines, night.wait()


def by_stage(lines: Sequence[dict[str, Any]]) -> Stages:
    """In the order they ended. The bytes of the whole are those of its stages and the rest."""
    found: Stages = {}
    for line in lines:
        facts = {fact: float(line[fact]) for fact in ("seconds", *BYTES)}
        stage = str(line["stage"])
        times = sum(name.split(" (")[0] == stage for name in found)
        if stage == WHOLE:
            facts |= {fact: facts[fact] + sum(others[fact] for others in found.values()) for fact in BYTES}
        found[f"{stage} ({times + 1})" if times else stage] = facts
    return found


def _stages(nights: dict[str, Stages]) -> list[str]:
    """Every stage of any night, each where it belongs: nights differ only in how they read."""
    found = list(dict.fromkeys(stage for night in nights.values() for stage in night if stage != WHOLE))
    read = [stage for stage in READ_STAGES if stage in found]
    return [*read, *(stage for stage in found if stage not in read)]


def _sum(name: str, stages: Sequence[str], nights: dict[str, Stages]) -> Measure:
    """Seconds of these stages together."""
    seconds = {
        night: sum(found[stage]["seconds"] for stage in stages if stage in found) for night, found in nights.items()
    }
    return Measure(name, "s", seconds.pop(EMPTY), seconds)


def _stage(stage: str, nights: dict[str, Stages]) -> list[Measure]:
    """Its seconds, and what bytes it moved."""
    measures = [_fact(f"  {stage}", stage, "seconds", nights)]
    for fact, direction in BYTES.items():
        if any(night.get(stage, {}).get(fact) for night in nights.values()):
            measures.append(_fact(f"    {direction}", stage, fact, nights))
    return measures


def _fact(name: str, stage: str, fact: str, nights: dict[str, Stages]) -> Measure:
    values = {night: stages.get(stage, {}).get(fact, 0.0) for night, stages in nights.items()}
    return Measure(name, "s" if fact == "seconds" else "bytes", values.pop(EMPTY), values, compared=False)
