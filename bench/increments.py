"""The data half of a night after 1 % of the rows changed, with the cache in S3 against the same half without one."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

from bench.changes import change, read_last
from bench.extraction import OWN_MODULE
from bench.measures import Measure, Section
from bench.processes import OWN, Answer, Process, median, started
from bench.progress import say
from bench.world import store_of, world
from waypost.settings import EmbeddedStack

KEPT = "tensors kept"  # the stage that writes the cache: after the tensors, so not part of the half


def measure(interactions: int, rounds: int) -> Section:
    with world(interactions) as (stack, _), started(OWN, OWN_MODULE) as own:
        cached, whole, changes = _in_rounds(own, stack, interactions, rounds)
    return Section(
        "increments",
        f"data half after 1 % of {interactions:,} interactions changed",
        (
            Measure("time of the data half", "s", _median(cached, _half), _no_cache(whole, "seconds")),
            *(
                Measure(f"  {stage}", "s", _median(cached, partial(_stage, name=stage)), {})
                for stage in _stages(cached)
            ),
            Measure(
                "bytes from Postgres", "bytes", median(cached, "postgres_bytes"), _no_cache(whole, "postgres_bytes")
            ),
            Measure(
                "client CPU of extraction", "s", median(changes, "cpu_seconds"), _no_cache(whole, "read_cpu_seconds")
            ),
            Measure("client CPU of the data half", "s", _median(cached, _half_cpu), _no_cache(whole, "cpu_seconds")),
            Measure("bytes from S3", "bytes", median(cached, "cache_read_bytes"), {}),
            Measure("besides, the cache written", "s", _median(cached, partial(_stage, name=KEPT)), {}),
            Measure("besides, bytes to S3", "bytes", median(cached, "cache_written_bytes"), {}),
        ),
        rounds=rounds,
        notes=(
            "the data half: connect to CSR tensors in memory, reading the cache included, writing it not",
            "extraction: connect, check of the schema, digests, changed rows, parsed; bytes: as COPY carries them",
            "every night builds on the one before, so the cache grows by a delta a round",
        ),
    )


def _in_rounds(
    own: Process, stack: EmbeddedStack, interactions: int, rounds: int
) -> tuple[list[Answer], list[Answer], list[Answer]]:
    """A day's changes before each round; which half comes first alternates. The first round warms up."""
    last, dsn, store = read_last(stack.postgres_dsn), stack.postgres_reader_dsn, store_of(stack)
    night, without = partial(own.ask, "night", dsn=dsn, **store), partial(own.ask, "whole", dsn=dsn)
    night()
    cached: list[Answer] = []
    whole: list[Answer] = []
    changes: list[Answer] = []
    for number in range(rounds + 1):
        change(stack.postgres_dsn, last, interactions, number)
        changes.append(own.ask("changes", dsn=dsn, **store))  # also the first to see the new rows, for both alike
        for run, answers in ((night, cached), (without, whole))[:: 1 if number % 2 else -1]:
            answers.append(run())
        say(f"round {number} of {rounds}  cached: {_half(cached[-1]):.3f} s  no cache: {whole[-1]['seconds']:.3f} s")
    return cached[1:], whole[1:], changes[1:]


def _half(answer: Answer) -> float:
    """Seconds from connecting to the tensors in memory."""
    return float(answer["seconds"]) - _stage(answer, KEPT)


def _half_cpu(answer: Answer) -> float:
    return float(answer["cpu_seconds"]) - float(answer["kept_cpu_seconds"])


def _stage(answer: Answer, name: str) -> float:
    return float(answer["stages"].get(name, 0.0))


def _stages(cached: list[Answer]) -> list[str]:
    return [stage for stage in cached[0]["stages"] if stage != KEPT]


def _median(answers: list[Answer], fact: Callable[[Answer], float]) -> float:
    return statistics.median(map(fact, answers))


def _no_cache(whole: list[Answer], fact: str) -> dict[str, float]:
    return {"no cache": median(whole, fact)}
