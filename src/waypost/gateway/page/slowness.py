"""Which stage got slower, and since when, in words. Pure.

A stage is compared with itself: earlier on the same release, and on the release before. `wait` (which holds the whole
of the worker) and `queue_wait` (which grows behind whatever is slow) are named only where nothing inside explains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from waypost.gateway.page.histograms import Counts

PATH = (
    ("gateway", "validate"), ("gateway", "enqueue"), ("gateway", "wait"),
    ("worker", "queue_wait"), ("worker", "decode"), ("worker", "lookup"), ("worker", "tokenize"), ("worker", "infer"),
    ("worker", "encode"), ("worker", "reply"),
    ("gateway", "encode"),
)  # fmt: skip
CONTAINERS = (("gateway", "wait"), ("worker", "queue_wait"))  # they show what others cause
SLOWER_SECONDS = 0.025  # what a caller may feel; below, buckets and chance speak
SLOWER_TIMES = 1.5
WITNESSES = 10  # observations beyond anything that was usual: one hiccup is no regression
ENOUGH = 50  # observations that a p99 is worth being compared by

Kind = Literal["slow", "bad", "calm", "quiet"]  # bad: something else than a stage


@dataclass(frozen=True)
class Stage:
    process: str
    name: str
    now: Counts | None  # of the served release, the last minutes
    earlier: Counts | None  # of the same release, the half hour before
    before: Counts | None  # of the release before
    half_hour: Counts | None  # of every release, the half hour before

    @property
    def is_container(self) -> bool:
        return (self.process, self.name) in CONTAINERS


@dataclass(frozen=True)
class Growth:
    stage: Stage
    was: float  # seconds, p99
    now: float
    since_release: bool  # else in the last minutes, on the same release

    @property
    def seconds(self) -> float:
        return self.now - self.was


@dataclass(frozen=True)
class Verdict:
    kind: Kind
    headline: str
    sentence: str
    process: str | None = None
    stage: str | None = None


def growth_of(stage: Stage) -> Growth | None:
    """How much it has grown, if it has: against its own release's past first, which dates it best."""
    for reference, since_release in ((stage.earlier, False), (stage.before, True)):
        if stage.now and reference and (was := _grown(stage.now, reference)) is not None:
            return Growth(stage, was, stage.now.quantile(0.99) or 0.0, since_release)
    return None


def _grown(now: Counts, reference: Counts) -> float | None:
    """The p99 it had, where it is slower now beyond doubt."""
    was, is_now = reference.quantile(0.99), now.quantile(0.99)
    if was is None or is_now is None or reference.total < ENOUGH:
        return None
    is_slower = is_now - was >= SLOWER_SECONDS and is_now >= SLOWER_TIMES * was
    return was if is_slower and now.slower_than(was) >= WITNESSES else None


def judge(stages: Sequence[Stage], release: str | None, before: str | None) -> Verdict:
    """The one sentence at the top of the page."""
    grown = [growth for stage in stages if (growth := growth_of(stage)) is not None]
    inside = [growth for growth in grown if not growth.stage.is_container]
    if grown:
        return _slow(max(inside or grown, key=lambda growth: growth.seconds), release)
    measured = [stage for stage in stages if stage.now and not stage.is_container]
    if not measured:
        return Verdict(
            "quiet", "No requests lately", "Ask for somebody below, and the stages of the request show up here."
        )
    longest = max(measured, key=lambda stage: _p99(stage.now))
    end = f"The longest is {longest.name} in the {longest.process}, p99 {_told(_p99(longest.now), longest.now)}"
    end += _left_out(stages)
    if any(stage.before or stage.earlier for stage in measured):
        against = f"release {before}" if before else "the last half hour"
        return Verdict("calm", "No stage got slower", f"Compared with {against}. {end}", longest.process, longest.name)
    first = "This is the first traffic seen here; stages are compared with themselves from now on."
    return Verdict("calm", "Answering", f"{first} {end}", longest.process, longest.name)


def _left_out(stages: Sequence[Stage]) -> str:
    """The end of the sentence on the longest stage: it is none of those in which a request waits for others."""
    waiting = [
        f"{stage.name} {_told(_p99(stage.now), stage.now)}" for stage in stages if stage.now and stage.is_container
    ]
    return f"; not counting where requests wait for others ({', '.join(waiting)})." if waiting else "."


def _slow(growth: Growth, release: str | None) -> Verdict:
    stage = growth.stage
    since = f"since release {release}" if growth.since_release and release else "in the last minutes"
    same = f", on release {release} all the while" if not growth.since_release and release else ""
    was = _told(growth.was, stage.now)
    what = f"p99 {was} → {in_words(growth.now)} {since}{same}"
    where = f"in the {stage.process}"
    return Verdict("slow", f"{stage.name} got slower", f"{stage.name} {where}: {what}.", stage.process, stage.name)


def _p99(counts: Counts | None) -> float:
    return (counts.quantile(0.99) or 0.0) if counts else 0.0


def _told(seconds: float, counts: Counts | None) -> str:
    """Inside the first bucket nobody knows more than that it is below the first edge."""
    first = counts.edges[0] if counts else 0.0
    return f"under {in_words(first)}" if seconds < first else in_words(seconds)


def in_words(seconds: float) -> str:
    """4.2 ms, 131 ms, 1.4 s."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1_000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
