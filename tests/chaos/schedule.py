"""Which fault comes when: from one seed the same sequence, every kind in turn before one comes again.

A link's faults last a fraction of a second and hit a share of what passes; a process is killed, stopped for a while,
asked to stop, or has its connections reset.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GATEWAY_SQS = ("error", "partial", "slow", "error after", "reset", "reset after", "blackhole", "delay")
WORKER_SQS = (
    "error", "slow", "error after", "reset", "reset after", "blackhole",
    "duplicate", "deleted again", "late", "reorder",
)  # fmt: skip
TRITON = ("delay", "error", "error after", "slow", "blackhole")
REPLIES = ("delay", "error", "error after", "reset", "reset after", "blackhole", "slow", "repeat", "forge")
S3 = ("error", "slow", "reset", "blackhole")
PROCESS = ("kill", "stop", "reset")
CHILD = ("kill", "stop", "terminate")
SHARES = {"blackhole": (0.3, 1.0), "duplicate": (0.5, 1.0), "deleted again": (0.5, 1.0), "late": (0.3, 0.8)}
SHARE = (0.2, 1.0)
LINK_SECONDS, STOP_SECONDS = (0.3, 1.5), (0.2, 2.0)
DELAY_SECONDS = (0.05, 0.6)
LINKS_EACH = 2  # link faults for each fault of a process


@dataclass(frozen=True)
class Step:
    at: float  # seconds since the first request
    kind: str
    target: str  # a link or a process
    seconds: float
    share: float = 1.0
    delay: float = 0.0


def schedule(
    seed: int, count: int, begin: float, end: float, gateways: Sequence[str], workers: Sequence[str], postgres: bool
) -> list[Step]:
    """`count` faults, evenly spread with some jitter, between two moments."""
    choose = random.Random(f"{seed}/schedule")
    links = _deck(choose, _link_kinds(gateways, workers))
    processes = _deck(choose, _process_kinds(gateways, workers, postgres))
    gap = (end - begin) / max(1, count)
    steps = []
    for turn in range(count):
        at = begin + gap * (turn + choose.random() * 0.8)
        if turn % (LINKS_EACH + 1) == 0:
            target, kind = next(processes)
            steps.append(Step(at, kind, target, choose.uniform(*STOP_SECONDS)))
        else:
            target, kind = next(links)
            share, delay = choose.uniform(*SHARES.get(kind, SHARE)), choose.uniform(*DELAY_SECONDS)
            steps.append(Step(at, kind, target, choose.uniform(*LINK_SECONDS), share, delay))
    return steps


def _link_kinds(gateways: Sequence[str], workers: Sequence[str]) -> list[tuple[list[str], str]]:
    """The links of one sort, and what can go wrong on them; and messages that no gateway of ours sent."""
    sorts = [
        ([f"{name}/sqs" for name in gateways], GATEWAY_SQS), ([f"{name}/sqs" for name in workers], WORKER_SQS),
        ([f"{name}/triton" for name in workers], TRITON), ([f"{name}/replies" for name in gateways], REPLIES),
        ([f"{name}/s3" for name in (*gateways, *workers)], S3), (["queue"], ("hostile",)),
    ]  # fmt: skip
    return [(names, kind) for names, kinds in sorts for kind in kinds]


def _process_kinds(gateways: Sequence[str], workers: Sequence[str], postgres: bool) -> list[tuple[list[str], str]]:
    tritons = [name.replace("worker", "triton") for name in workers]
    servers = [["sqs"], ["s3"], tritons, *([["postgres"]] if postgres else [])]
    found = [(names, kind) for names in servers for kind in PROCESS if (names, kind) != (["postgres"], "reset")]
    return found + [(list(names), kind) for names in (gateways, workers) for kind in CHILD]


def _deck(choose: random.Random, cards: list[tuple[list[str], str]]) -> Iterator[tuple[str, str]]:
    """Every card once in random order, then all of them again."""
    while True:
        order = choose.sample(cards, len(cards))
        for names, kind in order:
            yield choose.choice(names), kind
