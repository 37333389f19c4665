"""What a caller may rely on: one answer, in time, of k items; and no status but 200, 429 and 503, by the contract."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.chaos.history import CLIENT, Asked, overlaps
from tests.chaos.timeline import Timeline
from tests.chaos.verdict import Violation
from tests.chaos.world import FORGED_POST, seen_by

GRACE_SECONDS = 0.050  # after the deadline, by the issue
CONCURRENCY = 512  # the gateway's default cap
REQUEST_ID = re.compile(r"[0-9a-f]{32}")


def exempt(asked: Asked, times: Timeline) -> bool:
    """Whether its gateway was itself killed or stopped meanwhile."""
    return overlaps(times.hurt(asked.gateway), asked.sent, asked.ended)


def answered_in_time(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """Exactly one terminal answer by deadline + 50 ms; what the machine kept from caller and gateway is not counted."""
    for asked in times.history.of(Asked):
        counts["requests"] += 1
        if exempt(asked, times):
            counts["exempt: gateway killed or stopped"] += 1
        elif asked.gateway == CLIENT:
            yield from _client(asked, times, counts)
        elif asked.trouble == "refused":
            yield from _refused(asked, times)
        elif asked.trouble:
            yield from _unanswered(asked, times, counts)
        else:
            yield from _late(asked, counts)


def _client(asked: Asked, times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """Its one retry finds the gateway that lives. Hedges are 10 % of its calls, so behind a gateway that only hangs, or
    where an answer is a little late, it may have to take its own fallback: counted."""
    counts["client: asked"] += 1
    killed = any(overlaps(times.down(name), asked.sent, asked.ended) for name in times.gateways)
    stopped = any(overlaps(times.halted(name), asked.sent, asked.ended) for name in times.gateways)
    counts["client: asked while a gateway was killed"] += killed
    counts["client: asked while a gateway was stopped"] += stopped
    if "deadline" in asked.trouble and not killed:
        counts["client: fell back at its deadline" + (", a gateway being stopped" if stopped else "")] += 1
        yield from _late(asked, counts)
    elif asked.trouble:
        yield Violation("client unanswered", asked.sent, f"{asked.number}: {asked.trouble}, {killed=}")
    else:
        yield from _late(asked, counts)


def _refused(asked: Asked, times: Timeline) -> Iterator[Violation]:
    if not overlaps(times.ending(asked.gateway) + times.starting(asked.gateway), asked.sent, asked.ended):
        yield Violation("refused", asked.sent, f"{asked.gateway} refused the connection of {asked.number}")


def _unanswered(asked: Asked, times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """A connection that a stopping gateway closes before it has taken the request is no broken promise."""
    accepted = any(sent.gateway == asked.gateway for sent in times.requests_of.get(asked.number, ()))
    stopping = overlaps(times.ending(asked.gateway), asked.sent, asked.ended)
    if asked.trouble == "closed" and stopping and not accepted:
        counts["closed unaccepted by a stopping gateway"] += 1
        return
    yield Violation("unanswered", asked.sent, f"{asked.number} at {asked.gateway}: {asked.trouble}, {accepted=}")


def _late(asked: Asked, counts: Counter[str]) -> Iterator[Violation]:
    late = asked.ended - asked.sent - asked.deadline - GRACE_SECONDS
    if late <= 0:
        return
    if late <= asked.lag:
        counts["late, saved by the caller's own delay"] += 1
    elif late <= asked.lag + asked.starved:
        counts["late, saved by the gateway's wait for a processor"] += 1
    else:
        yield Violation(
            "late",
            asked.sent,
            f"{asked.number} at {asked.gateway}: {1e3 * late:.0f} ms beyond deadline + 50 ms "
            f"(caller {1e3 * asked.lag:.0f} ms, processor {1e3 * asked.starved:.0f} ms)",
        )


def status_is_allowed(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """200; 503 while stopping or not ready yet; 429 when as many are in flight as the cap; both with Retry-After."""
    for asked in times.history.of(Asked):
        if asked.status == 0:
            continue
        counts[f"HTTP {asked.status}"] += 1
        if asked.status == 200:
            continue
        stopping = overlaps(times.ending(asked.gateway) + times.starting(asked.gateway), asked.sent, asked.ended)
        allowed = (asked.status == 503 and stopping) or (
            asked.status == 429 and _in_flight(asked, times) >= CONCURRENCY
        )
        if not (allowed and asked.retry_after) and not exempt(asked, times):
            yield Violation("status", asked.sent, f"{asked.number} at {asked.gateway}: {asked.status}")


def _in_flight(asked: Asked, times: Timeline) -> int:
    others = (one for one in times.history.of(Asked) if one.gateway == asked.gateway)
    return sum(one.sent <= asked.ended and asked.sent <= one.ended for one in others)


def answer_is_right(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """k posts, none twice, none excluded, none forged, for the user who asked, honestly marked. Every user of the world
    has a history, so only the model's answer is not degraded."""
    seen_ids: set[str] = set()
    for asked in times.history.of(Asked):
        if asked.status != 200:
            continue
        counts["by the model" if not asked.degraded else "degraded"] += 1
        for rule, text in _faults_of(asked):
            yield Violation(rule, asked.sent, f"{asked.number} at {asked.gateway}: {text}")
        if asked.request in seen_ids:
            yield Violation("answered twice", asked.sent, f"{asked.request} answers a second request")
        seen_ids.add(asked.request)


def _faults_of(asked: Asked) -> Iterator[tuple[str, str]]:
    posts = set(asked.posts)
    if len(asked.posts) != asked.k:
        yield "k", f"{len(asked.posts)} items for k={asked.k}, {asked.degraded=}"
    if len(posts) != len(asked.posts):
        yield "k", "a post twice"
    if asked.answered_user != asked.user or any(post >= FORGED_POST for post in posts):
        yield "another's answer", f"user {asked.answered_user}, posts {asked.posts[:3]}…"
    if posts & set(asked.excluded):
        yield "excluded", "an excluded post"
    if asked.source == "graphsage" and posts & seen_by(asked.user):
        yield "excluded", "a seen post"
    if not REQUEST_ID.fullmatch(asked.request):
        yield "marked", f"request id {asked.request!r}"
    if (asked.source == "graphsage") == asked.degraded or (asked.version is None) != asked.degraded:
        yield "marked", f"{asked.source=} {asked.degraded=} {asked.version=}"


def model_comes_back(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """Once nothing was done to anything for a while, the model answers again."""
    events = [one.until for one in times.faults] + [one.at for one in times.processes if one.what != "continued"]
    quiet = max(events, default=0.0) + RECOVERY_SECONDS
    calm = [one for one in times.history.of(Asked) if one.sent > quiet and one.status == 200]
    by_model = sum(not one.degraded for one in calm)
    counts["asked after the recovery"] += len(calm)
    if len(calm) >= ENOUGH and by_model < CALM_SHARE * len(calm):
        yield Violation("not recovered", quiet, f"only {by_model} of {len(calm)} by the model")


RECOVERY_SECONDS = 15.0  # the bound of the drills for the slowest fault
ENOUGH, CALM_SHARE = 30, 0.9
