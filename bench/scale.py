"""Ten times the interactions: what an edge costs, and how much memory the process takes."""

from __future__ import annotations

import statistics
from functools import partial

from bench.extraction import OWN_MODULE
from bench.measures import Measure, Section
from bench.processes import OWN, Answer, Process, interleaved, started
from bench.world import store_of, world
from waypost.settings import EmbeddedStack

TIMES = 10
MEMORY_BYTES = 8e9
BIG, SMALL = "20 M", "2 M"


def measure(interactions: int, rounds: int) -> Section:
    with (
        world(interactions) as (small, _),
        world(TIMES * interactions) as (big, _),
        started(OWN, OWN_MODULE) as at_small,
        started(OWN, OWN_MODULE) as at_big,
    ):
        first = interleaved(rounds, {SMALL: partial(_first, at_small, small), BIG: partial(_first, at_big, big)}, False)
        warm = interleaved(rounds, {SMALL: partial(_night, at_small, small), BIG: partial(_night, at_big, big)}, False)
    peak = max(answer["process_peak_bytes"] for answer in first[BIG] + warm[BIG])
    small_peak = max(answer["process_peak_bytes"] for answer in first[SMALL] + warm[SMALL])
    return Section(
        "scale",
        f"{TIMES * interactions:,} interactions against {interactions:,}",
        (
            *_measures("first night", first),
            *_measures("night without changes", warm),
            Measure("peak memory of the process", "bytes", peak, {SMALL: small_peak, "8 GB": MEMORY_BYTES}),
        ),
        ours=BIG,
        rounds=rounds,
        notes=(
            "first night: extraction, digests, tensors and the cache written; then the cache read and found current",
        ),
    )


def _night(own: Process, stack: EmbeddedStack) -> Answer:
    return own.ask("night", dsn=stack.postgres_reader_dsn, **store_of(stack))


def _first(own: Process, stack: EmbeddedStack) -> Answer:
    own.ask("empty", **store_of(stack))
    return _night(own, stack)


def _measures(name: str, answers: dict[str, list[Answer]]) -> list[Measure]:
    """The whole night and each of its stages, per edge."""
    stages = answers[BIG][0]["stages"]
    parts = [_per_edge(f"  {stage}", stage, answers, compared=False) for stage in stages]
    return [_per_edge(name, "seconds", answers, compared=True), *parts]


def _per_edge(name: str, stage: str, answers: dict[str, list[Answer]], compared: bool) -> Measure:
    cost = {
        size: statistics.median(_seconds(answer, stage) / answer["interactions"] * 1e9 for answer in found)
        for size, found in answers.items()
    }
    return Measure(name, "ns/edge", cost[BIG], {SMALL: cost[SMALL]}, compared)


def _seconds(answer: Answer, stage: str) -> float:
    return float(answer["seconds"] if stage == "seconds" else answer["stages"].get(stage, 0.0))
