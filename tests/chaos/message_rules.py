"""What must hold between gateway and worker: replies go to who asked, deletes come after them, nothing stale or known
is inferred, what a worker held is accounted for when it ends, and repetitions stay within their budget."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.history import Deleted, Inferred, Replied, Sent, Trapped, overlaps
from tests.chaos.timeline import Timeline
from tests.chaos.verdict import Violation
from tests.chaos.world import HOSTILE_NUMBER

STALE_SHARE = 0.001  # of all inferences, by the issue
STALE_FEW = 2  # in a short run a share of a thousandth is less than one
OBSERVED_SECONDS = 0.010  # between a worker's look at its clock and the proxy's: one gRPC call
RETRY_SHARE = 0.1  # of the requests, by the issue
RETRY_BURST = 12  # repetitions that a budget has saved up when trouble begins
EXIT_SECONDS = 20.0  # the longest deadline, a long poll, and what is in hand
DELIVERED = 204


def delete_follows_reply(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """A message whose caller still waits is deleted after a gateway took its reply; or unworked, by a worker that
    cannot make it in time; or worked in vain, its gateway taking no replies and another try coming too late."""
    for deleted in times.history.of(Deleted):
        sent = times.sent.get(deleted.request)
        if sent is None or deleted.at >= sent.deadline or _is_replied(times, sent, deleted.at):
            continue
        if len(times.requests_of[sent.number]) > 1:  # a client hedged: whose the inference was, nobody can say
            continue
        rows = [one for one in times.inferred.get(sent.number, ()) if one.worker == deleted.worker and one.answered]
        before = any(one.at <= deleted.at for one in rows)
        if before and not times.refused_replies(sent.gateway, sent.at, deleted.at):
            yield Violation("delete before reply", deleted.at, f"{deleted.worker} deleted {sent.request}, then replied")
        elif not before and any(_without_delivery(times, deleted, one) for one in rows):
            yield Violation(
                "delete before reply", deleted.at, f"{deleted.worker} deleted {sent.request}, then inferred"
            )
        else:
            counts["dropped before its deadline"] += 1


def _is_replied(times: Timeline, sent: Sent, by: float) -> bool:
    return any(_told_taken(reply) and reply.ended <= by for reply in times.replies.get(sent.request, ()))


def _without_delivery(times: Timeline, deleted: Deleted, inferred: Inferred) -> bool:
    """Whether the worker inferred after the delete what it had received before."""
    again = (one for one in times.deliveries_of.get(deleted.request, ()) if one.worker == deleted.worker)
    return inferred.at > deleted.at and not any(deleted.at <= one.at <= inferred.at for one in again)


def nothing_stale_is_inferred(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """Beyond 0.1 %. A worker that had it in time and was then stopped, or got no processor for so long, is excused."""
    rows = [one for one in times.history.of(Inferred) if one.number < HOSTILE_NUMBER]
    stale = [one for one in rows if _is_stale(one, times, counts)]
    counts["inferred"] += len(rows)
    counts["inferred though expired"] += len(stale)
    if len(stale) > max(STALE_FEW, STALE_SHARE * len(rows)):
        for one in stale:
            yield Violation("stale inference", one.at, f"{one.worker} inferred {one.number} after its deadline")


def _is_stale(one: Inferred, times: Timeline, counts: Counter[str]) -> bool:
    sent = times.requests_of.get(one.number, [])
    deadline = max((each.deadline for each in sent), default=one.at)
    late = one.at - one.lag - OBSERVED_SECONDS - deadline
    if late <= 0:
        return False
    received = max((each.at for each in times.deliveries_of.get(sent[-1].request, ()) if each.at <= one.at), default=0)
    if received < deadline and overlaps(times.halted(one.worker), received, one.at):
        return False
    if received < deadline and late <= times.starved(one.worker, received, one.at):
        counts["inferred late, for want of a processor"] += 1
        return False
    return True


def nothing_is_inferred_twice(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """By one worker: never again once it has an answer, unless the gateway did not take that. In a run of orderly ends
    alone: by nobody."""
    strict = bool(times.history.about.get("strict"))
    for number, rows in times.inferred.items():
        answered = [one for one in rows if one.answered]
        requests = times.requests_of.get(number, [])
        if len(answered) < 2 or len(requests) != 1:
            continue
        counts["inferred again, for a reason or elsewhere"] += 1
        for first, again in pairwise(answered):
            if strict or (
                _same(first, again, times) and not times.refused_replies(requests[0].gateway, first.at, again.at)
            ):
                yield Violation("inferred twice", again.at, f"{again.worker} inferred {number} again")


def _same(first: Inferred, again: Inferred, times: Timeline) -> bool:
    """By one process."""
    if first.worker != again.worker:
        return False
    return times.incarnation(first.worker, first.at) == times.incarnation(again.worker, again.at)


def replies_go_to_who_asked(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    for reply in times.history.of(Replied):
        counts["replies"] += _by_worker(reply)
        sent = times.sent.get(reply.request)
        if reply.request in times.hostile:
            yield Violation("hostile answered", reply.at, f"{times.hostile[reply.request].kind} message answered")
        elif sent is not None and sent.gateway != reply.gateway:
            yield Violation("reply elsewhere", reply.at, f"{reply.request} of {sent.gateway} went to {reply.gateway}")
    for trapped in times.history.of(Trapped):
        yield Violation("reply address", trapped.at, f"somebody called the trap: {trapped.first_bytes[:40]!r}")


def hostile_messages_are_not_inferred(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    unsigned = {one.number for one in times.hostile.values() if one.kind != "address"}
    counts["hostile messages"] += len(times.hostile)
    for number in unsigned & times.inferred.keys():
        yield Violation("hostile inferred", times.inferred[number][0].at, "an unsigned message was worked on")


def repetitions_stay_in_budget(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """Of one gateway's sends to SQS."""
    sends: defaultdict[tuple[str, int], list[Sent]] = defaultdict(list)
    for one in times.history.of(Sent):
        sends[one.gateway, times.incarnation(one.gateway, one.at)].append(one)
    for (gateway, _), sent in sends.items():
        first = len({one.request for one in sent})
        repeated = len(sent) - first
        counts["sent again"] += repeated
        if repeated > RETRY_SHARE * first + RETRY_BURST:
            yield Violation("retry budget", sent[-1].at, f"{gateway} sent {first} requests and {repeated} repetitions")


def ends_are_orderly(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """Nobody dies unasked; who is asked to stop exits with 0 in time, and a worker leaves no message in its hand."""
    begun: dict[str, float] = {}
    asked: dict[str, float] = {}
    for event in times.processes:
        if event.what == "started":
            begun[event.name] = event.at
        elif event.what == "killed":
            counts["kills"] += 1
        elif event.what == "died":
            yield Violation("died", event.at, f"{event.name} ended unasked with {event.code}")
        elif event.what == "asked to stop":
            asked[event.name] = event.at
        elif event.what == "ended" and event.name in asked:
            counts["orderly ends"] += 1
            since = asked.pop(event.name)
            if event.code != 0 or event.at - since > EXIT_SECONDS:
                text = f"{event.name} ended with {event.code} after {event.at - since:.1f} s"
                yield Violation("bad end", event.at, text)
            yield from _left_in_hand(times, event.name, begun.get(event.name, 0.0), since, event.at)


def _left_in_hand(times: Timeline, worker: str, begun: float, asked: float, ended: float) -> Iterator[Violation]:
    """Where a fault on the way to SQS may have kept a release from it, nothing is said."""
    if not worker.startswith("worker") or times.faulty((f"{worker}/sqs", "sqs"), asked - AFTERMATH_SECONDS, ended):
        return
    held = [one for one in times.delivered if one.worker == worker and begun <= one.at <= ended and one.seen]
    lost = [one for one in held if one.at > asked - EXIT_SECONDS and not _is_done(one.handle, ended, times)]
    for one in lost:
        if not times.faulty((f"{worker}/sqs", "sqs"), one.at - AFTERMATH_SECONDS, ended):
            yield Violation("left in hand", ended, f"{worker} ended with {one.request} neither answered nor released")


AFTERMATH_SECONDS = 3.0  # a call that a fault has hit may end this much later


def _is_done(handle: str, by: float, times: Timeline) -> bool:
    return any(at <= by + OBSERVED_SECONDS for at in times.done.get(handle, ()))


def _by_worker(reply: Replied) -> bool:
    return reply.origin == "worker"


def _told_taken(reply: Replied) -> bool:
    return _by_worker(reply) and reply.status == DELIVERED
