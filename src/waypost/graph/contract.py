"""The data contract: figures about what was read, and what they must be before a night trains on it.

Pure. `inspect` makes the figures (Facts) from one GraphRead in a few vectorised passes; `judge` compares them with
limits and with the last accepted nights. It knows neither S3 nor settings, and no id leaves it: a report says how much
one user holds, never which one. Only a check whose breach would spoil a model stops the night; the rest warn.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from waypost.graph.facts import GraphRead, SourceFacts
from waypost.graph.tensors import NO_TIME, GraphTensors, Int32Array, Int64Array, Interactions

Verdict = Literal["ok", "warning", "refused"]

CLOCK_TOLERANCE_SECONDS = 300.0  # app servers' clocks differ from Postgres' by less, unless one is plainly wrong
MIN_ROWS = 100  # shares and ratios of fewer rows are chance: a new app goes from 5 users to 60 in a day
MIN_TAGS = 20  # of a smaller vocabulary one renamed tag is more than 5 %
SKETCH_SIZE = 1_024  # hashes; the standard error of the drift is then at most sqrt(0.25 / 1024) = 1.6 %
HASH_BYTES = 8  # a million names collide with a chance of 3e-8
HASH_DIGITS = 2 * HASH_BYTES
POSTS = "posts"  # the source whose orphans are used all the same: a post whose author is not there has none
HIGH_DEGREE_QUANTILE = 0.999
CHUNK = 4_000_000  # interactions counted at a time: bincount makes int64 of what it is given


@dataclass(frozen=True)
class Facts:
    """Every figure of one night. Shares are 0…1 and 0 where there is nothing to have a share of."""

    taken_at: float  # seconds since the epoch, by Postgres' clock
    sources: Mapping[str, SourceFacts]
    users: int
    posts: int
    interactions: int
    duplicate_share: float  # of interactions equal to another in user, post, kind and time (no time is equal to none)
    largest_user_share: float  # of all interactions that the most active user holds
    largest_post_share: float
    high_user_degree: int  # interactions: of the users with any, all but one in a thousand have at most so many
    high_post_degree: int
    future_interaction_share: float  # later than taken_at and the clock tolerance
    future_post_share: float
    furthest_future_seconds: float  # past taken_at; 0 when nothing is
    untimed_interaction_share: float
    textless_post_share: float  # neither title nor body
    untagged_post_share: float
    tags: int  # distinct names, upper and lower case being the same
    tag_sketch: str  # the SKETCH_SIZE smallest hashes of those names in hexadecimal, ascending, without gaps


@dataclass(frozen=True)
class Limits:
    """What a night may be. The settings have the same names behind `contract_`, and say the defaults."""

    max_drop: float  # this much smaller, or more, is refused
    max_jump: float  # so many times larger, or more, is refused
    max_null_share: float
    max_orphan_share: float
    max_duplicate_share: float
    max_user_share: float
    max_post_share: float
    max_future_share: float
    max_tag_drift: float
    max_textless_share: float
    max_textless_rise: float

    def of(self, name: str) -> float:
        return float(getattr(self, name))


@dataclass(frozen=True)
class Check:
    name: str
    source: str  # of the mapping; empty when the check is about the whole graph
    figure: float | None  # None: there is nothing to compare with
    limit: float | None  # None: it was not judged, and the sentence says why
    verdict: Verdict
    sentence: str
    limit_name: str = ""  # a field of Limits
    raise_to: float | None = None  # a limit under which a figure passes that does not; None when none would
    advice: str = ""  # what to look at when it is not ok


@dataclass(frozen=True)
class Report:
    facts: Facts
    checks: tuple[Check, ...]
    nights: int  # how many accepted ones it was compared with

    def of(self, verdict: Verdict) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict == verdict)


def inspect(read: GraphRead) -> Facts:
    """All figures of one snapshot. At 20 million interactions: seconds, and less extra memory than the tensors take."""
    tensors, interactions = read.tensors, read.tensors.interactions
    latest = _microseconds(read.taken_at + CLOCK_TOLERANCE_SECONDS)
    user_degree = _degrees(interactions.user, tensors.num_users)
    post_degree = _degrees(interactions.post, tensors.num_posts)
    names = {name.casefold() for name in tensors.tag_names}
    return Facts(
        taken_at=read.taken_at,
        sources=dict(read.sources),
        users=tensors.num_users,
        posts=tensors.num_posts,
        interactions=len(interactions),
        duplicate_share=_share(_count_repeats(interactions), len(interactions)),
        largest_user_share=_share(int(user_degree.max(initial=0)), len(interactions)),
        largest_post_share=_share(int(post_degree.max(initial=0)), len(interactions)),
        high_user_degree=_high_degree(user_degree),
        high_post_degree=_high_degree(post_degree),
        future_interaction_share=_share_of(interactions.created_at > latest),
        future_post_share=_share_of(tensors.post_created_at > latest),
        furthest_future_seconds=_furthest_future(tensors, read.taken_at),
        untimed_interaction_share=_share_of(interactions.created_at == NO_TIME),
        textless_post_share=_share_of(tensors.post_texts.lengths == 0),
        untagged_post_share=_share_of(np.diff(tensors.post_tags.indptr) == 0),
        tags=len(names),
        tag_sketch=to_sketch(names),
    )


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _share_of(mask: NDArray[np.bool_]) -> float:
    return _share(int(np.count_nonzero(mask)), len(mask))


def _count_repeats(interactions: Interactions) -> int:
    """Rows equal to the one before, in an order that puts equal rows side by side."""
    if not len(interactions):
        return 0
    same = interactions.user[1:] == interactions.user[:-1]
    for column in (interactions.post, interactions.kind, interactions.created_at):
        same &= column[1:] == column[:-1]
    return int(np.count_nonzero(same))


def _degrees(column: Int32Array, count: int) -> Int64Array:
    """[count] how often each index occurs."""
    degrees = np.zeros(count, np.int64)
    for start in range(0, len(column), CHUNK):
        degrees += np.bincount(column[start : start + CHUNK], minlength=count)
    return degrees


def _high_degree(degrees: Int64Array) -> int:
    used = degrees[degrees > 0]
    return int(np.quantile(used, HIGH_DEGREE_QUANTILE, method="higher")) if len(used) else 0


def _furthest_future(tensors: GraphTensors, taken_at: float) -> float:
    latest = max(
        int(tensors.interactions.created_at.max(initial=NO_TIME)), int(tensors.post_created_at.max(initial=NO_TIME))
    )
    return max(0.0, latest / 1e6 - taken_at)


def to_sketch(names: set[str]) -> str:
    """The k smallest hashes of a set of names: a uniform sample that is the same for the same names on every night."""
    hashes = sorted(
        hashlib.blake2b(name.encode(errors="replace"), digest_size=HASH_BYTES).hexdigest() for name in names
    )
    return "".join(hashes[:SKETCH_SIZE])


def estimate_drift(old: str, new: str) -> float:
    """1 − Jaccard similarity of the two sets behind these sketches, 0 (the same) … 1 (nothing in common).

    The k smallest hashes of both sketches together are the k smallest of the union of the sets; the share of them that
    lies in both is an unbiased estimate of |A ∩ B| / |A ∪ B| (Beyer, Haas, Reinwald, Sismanis, Gemulla: On synopses
    for distinct-value estimation under multiset operations, SIGMOD 2007). Exact while the union has at most k names.
    """
    olds, news = set(_hashes(old)), set(_hashes(new))
    smallest = sorted(olds | news)[:SKETCH_SIZE]
    shared = sum(one in olds and one in news for one in smallest)
    return 1.0 - shared / len(smallest) if smallest else 0.0


def _hashes(sketch: str) -> Iterator[str]:
    return (sketch[start : start + HASH_DIGITS] for start in range(0, len(sketch), HASH_DIGITS))


def judge(facts: Facts, history: Sequence[Facts], limits: Limits) -> Report:
    """Every check of this night. `history` is the last accepted nights, newest first; empty on the first night."""
    checks = (
        *(check for source in facts.sources for check in _judge_rows(source, facts, history, limits)),
        *_judge_gone(facts, history),
        *(check for source in facts.sources for check in _judge_unused(source, facts.sources[source], limits)),
        *_judge_interactions(facts, limits),
        *_judge_times(facts, limits),
        *_judge_text(facts, history, limits),
        _judge_tags(facts, history, limits),
    )
    return Report(facts, checks, len(history))


def _judge_rows(source: str, facts: Facts, history: Sequence[Facts], limits: Limits) -> tuple[Check, Check]:
    """Against the median of the last nights: one odd night among them moves it little."""
    rows = facts.sources[source].rows
    before = [night.sources[source].rows for night in history if source in night.sources]
    if not before:
        why = f"{source}: {rows:,} rows; no accepted night has read it yet, so there is nothing to compare with"
        return _unjudged("row_drop", why, source), _unjudged("row_jump", why, source)
    usual = statistics.median(before)
    return _judge_drop(source, rows, usual, len(before), limits), _judge_jump(source, rows, usual, len(before), limits)


def _judge_drop(source: str, rows: int, usual: float, nights: int, limits: Limits) -> Check:
    if usual < MIN_ROWS:
        why = f"{source}: {rows:,} rows; the {usual:,.0f} of the last {_nights(nights)} are too few to speak of a drop"
        return _unjudged("row_drop", why, source)
    drop, limit = max(0.0, (usual - rows) / usual), limits.max_drop
    sentence = (
        f"{source}: {rows:,} rows, {percent(drop)} fewer than the {usual:,.0f} of the last {_nights(nights)} "
        f"(median; {percent(limit)} or more stops)"
    )
    verdict: Verdict = "refused" if drop >= limit else "ok"
    enough = _above(drop, 0.01) if verdict != "ok" and drop < 1 else None  # an empty source passes no limit
    return Check("row_drop", source, drop, limit, verdict, sentence, "max_drop", enough, "look for lost rows")


def _judge_jump(source: str, rows: int, usual: float, nights: int, limits: Limits) -> Check:
    """Nights of fewer than MIN_ROWS rows count as MIN_ROWS, so that a launch is no jump."""
    jump, limit = rows / max(usual, MIN_ROWS), limits.max_jump
    sentence = (
        f"{source}: {rows:,} rows, {jump:,.4g} times the {max(usual, MIN_ROWS):,.0f} of the last {_nights(nights)} "
        f"(median, at least {MIN_ROWS}; {limit:,.4g} times or more stops)"
    )
    verdict: Verdict = "refused" if jump >= limit else "ok"
    enough = _above(jump, 1.0) if verdict != "ok" else None
    advice = "look for rows loaded twice and for joins in the mapping that multiply them"
    return Check("row_jump", source, jump, limit, verdict, sentence, "max_jump", enough, advice)


def _judge_gone(facts: Facts, history: Sequence[Facts]) -> list[Check]:
    """Sources of the last night that this one did not read: the mapping was changed, which is no fault of the data."""
    gone = sorted(set(history[0].sources) - set(facts.sources)) if history else []
    return [
        Check(
            "source_gone",
            source,
            1.0,
            None,
            "warning",
            f"{source}: {history[0].sources[source].rows:,} rows on the last night, not read on this one",
            advice="put it back into the mapping unless it was left out on purpose",
        )
        for source in gone
    ]


def _judge_unused(source: str, found: SourceFacts, limits: Limits) -> tuple[Check, Check]:
    null = _judge_share(
        "null_share",
        f"{source}: {{}} of {found.rows:,} rows lack an id",
        _share(found.null_ids, found.rows),
        "max_null_share",
        limits,
        worst="refused",
        counted=found.rows,
        source=source,
        advice="look at the id columns of its SELECT, or leave such rows out there",
    )
    orphan = _judge_share(
        "orphan_share",
        f"{source}: {{}} of {found.rows:,} rows name a user, post or tag that was not read",
        _share(found.orphans, found.rows),
        "max_orphan_share",
        limits,
        worst="warning" if source == POSTS else "refused",
        counted=found.rows,
        source=source,
        advice="look whether its ids are of the same kind as those of users and posts, or leave such rows out",
    )
    return null, orphan


def _judge_interactions(facts: Facts, limits: Limits) -> tuple[Check, ...]:
    """Repeats and hubs are ordinary in small amounts, and the model survives them in large ones: they only warn."""
    repeated = _judge_share(
        "duplicate_share",
        f"{{}} of {facts.interactions:,} interactions repeat another in user, post, kind and time",
        facts.duplicate_share,
        "max_duplicate_share",
        limits,
        worst="warning",
        counted=facts.interactions,
        advice="look for a join in the mapping that multiplies rows",
    )
    hubs = (
        _judge_share(
            f"{node}_share",
            f"one {node} holds {{}} of {facts.interactions:,} interactions",
            largest,
            f"max_{node}_share",
            limits,
            worst="warning",
            counted=min(facts.interactions, nodes),  # of a handful of users one holds much, however even they are
            advice=advice,
        )
        for node, nodes, largest, advice in (
            ("user", facts.users, facts.largest_user_share, "look for a crawler or a shared account"),
            ("post", facts.posts, facts.largest_post_share, "look for a default id or a page that everybody opens"),
        )
    )
    return (repeated, *hubs)


def _judge_times(facts: Facts, limits: Limits) -> tuple[Check, Check]:
    """The last interactions by time are what the model is judged on; posts of the future are often just scheduled."""
    advice = "look at the time column, its unit and its zone"
    ahead = f"(the furthest by {facts.furthest_future_seconds:,.0f} s)" if facts.furthest_future_seconds else ""
    interactions = _judge_share(
        "future_interaction_share",
        f"{{}} of {facts.interactions:,} interactions lie in the future {ahead}".rstrip(),
        facts.future_interaction_share,
        "max_future_share",
        limits,
        worst="refused",
        counted=facts.interactions,
        advice=advice,
    )
    posts = _judge_share(
        "future_post_share",
        f"{{}} of {facts.posts:,} posts lie in the future {ahead}".rstrip(),
        facts.future_post_share,
        "max_future_share",
        limits,
        worst="warning",
        counted=facts.posts,
        advice=advice,
    )
    return interactions, posts


def _judge_text(facts: Facts, history: Sequence[Facts], limits: Limits) -> tuple[Check, Check]:
    """An app without any text is fine; one that loses it overnight is not, and no row count would show it."""
    advice = "look at the text columns of the posts' SELECT"
    share = _judge_share(
        "textless_share",
        f"{{}} of {facts.posts:,} posts have no text",
        facts.textless_post_share,
        "max_textless_share",
        limits,
        worst="refused",
        counted=facts.posts,
        advice=advice,
    )
    before = [night.textless_post_share for night in history if night.posts >= MIN_ROWS]
    if not before:
        return share, _unjudged("textless_rise", "no accepted night of enough posts to compare the share of text with")
    usual = statistics.median(before)
    rise = _judge_share(
        "textless_rise",
        f"{percent(facts.textless_post_share)} of the posts have no text, {{}} of all posts more than the "
        f"{percent(usual)} of the last {_nights(len(before))} (median)",
        max(0.0, facts.textless_post_share - usual),
        "max_textless_rise",
        limits,
        worst="refused",
        counted=facts.posts,
        advice=advice,
    )
    return share, rise


def _judge_tags(facts: Facts, history: Sequence[Facts], limits: Limits) -> Check:
    if not history:
        return _unjudged("tag_drift", "no accepted night yet to compare the tags' names with")
    if history[0].tags < MIN_TAGS:
        return _unjudged("tag_drift", f"the last night's {history[0].tags} tags are too few to speak of a drift")
    return _judge_share(
        "tag_drift",
        f"the {facts.tags:,} tag names differ in {{}} of all names from the {history[0].tags:,} of the last night",
        estimate_drift(history[0].tag_sketch, facts.tag_sketch),
        "max_tag_drift",
        limits,
        worst="refused",
        counted=history[0].tags,
        floor=MIN_TAGS,
        advice="look whether the tags' SELECT gives their names",
    )


def _judge_share(
    name: str,
    said: str,
    figure: float,
    limit_name: str,
    limits: Limits,
    *,
    worst: Verdict,
    counted: int,
    advice: str,
    source: str = "",
    floor: int = MIN_ROWS,
) -> Check:
    """A share above its limit gets the worst verdict. `said` has {} where the figure goes."""
    said = said.replace("{}", percent(figure))
    if counted < floor:
        return _unjudged(name, f"{said}; not judged, as {counted:,} are fewer than {floor}", source, figure)
    limit = limits.of(limit_name)
    does = "stops" if worst == "refused" else "warns"
    sentence = f"{said} (more than {percent(limit)} {does})"
    verdict: Verdict = worst if figure > limit else "ok"
    enough = min(1.0, _above(figure, 0.01)) if verdict != "ok" else None
    return Check(name, source, figure, limit, verdict, sentence, limit_name, enough, advice)


def _unjudged(name: str, why: str, source: str = "", figure: float | None = None) -> Check:
    return Check(name, source, figure, None, "ok", why)


def _above(figure: float, step: float) -> float:
    """The next whole step above the figure: the limit to set for it to pass."""
    steps = math.floor(figure / step) + 1
    while (value := round(steps * step, 2)) <= figure:  # 0.29 / 0.01 is 28.999…
        steps += 1
    return value


def _nights(count: int) -> str:
    return "night" if count == 1 else f"{count} nights"


def percent(share: float) -> str:
    return f"{100 * share:.4g} %"
