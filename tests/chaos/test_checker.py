"""The checker on histories of a few events: a good one, and one for each way to break the promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.history import (
    Asked,
    Deleted,
    Delivered,
    Event,
    Fault,
    History,
    Hostile,
    Inferred,
    Process,
    Replied,
    Scrape,
    Sent,
    Trapped,
    load,
)
from tests.chaos.schedule import schedule
from tests.chaos.world import FORGED_POST, HOSTILE_NUMBER, marks_of, number_of_ids

ID = "0123456789abcdef0123456789abcdef"
NUMBER = 7
MARKS = marks_of(NUMBER)
POSTS = tuple(range(5_000_000_100, 5_000_000_103))
ASKED = Asked(
    NUMBER, "gateway-1", 10.0, 10.0, 10.1, 0.3, MARKS.user, 3, MARKS.excluded, 200,
    request=ID, answered_user=MARKS.user, source="graphsage", version=1, posts=POSTS,
)  # fmt: skip
SENT = Sent(10.01, "gateway-1", ID, NUMBER, MARKS.user, 10.28, "gateway:1", "yes")
DELIVERED = Delivered(10.02, "worker-1", ID, NUMBER, "handle", "plain")
INFERRED = Inferred(10.03, "worker-1", NUMBER, True)
REPLIED = Replied(10.05, 10.06, "gateway-1", ID, MARKS.user, 204, True, "worker")
DELETED = Deleted(10.07, "worker-1", ID, "handle")
GOOD: tuple[Event, ...] = (
    Process(1.0, "gateway-1", "started"), Process(1.0, "worker-1", "started"), Process(2.0, "gateway-1", "ready"),
    Process(2.0, "worker-1", "ready"), ASKED, SENT, DELIVERED, INFERRED, REPLIED, DELETED,
)  # fmt: skip


def rules(*events: Event, without: tuple[Event, ...] = (), strict: bool = False) -> set[str]:
    kept = [event for event in GOOD if event not in without]
    return set(check(History({"strict": strict}, [*kept, *events])).rules())


def degraded(**different: object) -> Asked:
    return replace(ASKED, **{"source": "popular", "degraded": True, "version": None, **different})  # type: ignore[arg-type]


def test_a_good_history_breaks_no_rule() -> None:
    assert rules() == set()


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (replace(ASKED, ended=10.36), "late"),
        (replace(ASKED, status=0, trouble="patience", ended=15.4), "unanswered"),
        (replace(ASKED, status=0, trouble="closed"), "unanswered"),
        (replace(ASKED, status=0, trouble="refused"), "refused"),
        (replace(ASKED, status=500), "status"),
        (replace(ASKED, status=503, retry_after="1"), "status"),
        (replace(ASKED, status=429, retry_after="1"), "status"),
        (replace(ASKED, posts=POSTS[:2]), "k"),
        (replace(ASKED, posts=(POSTS[0], *POSTS[:2])), "k"),
        (replace(ASKED, posts=(*POSTS[:2], FORGED_POST)), "another's answer"),
        (replace(ASKED, answered_user=1), "another's answer"),
        (replace(ASKED, posts=(*POSTS[:2], MARKS.excluded[0])), "excluded"),
        (replace(ASKED, degraded=True), "marked"),
        (degraded(degraded=False), "marked"),
    ],
)
def test_an_answer_that_breaks_the_promise_is_found(asked: Asked, rule: str) -> None:
    assert rules(asked, without=(ASKED,)) == {rule}


def test_two_requests_with_one_answer_are_found() -> None:
    assert rules(replace(ASKED, number=8)) == {"answered twice"}


def test_lateness_that_the_machine_made_is_counted_and_is_no_violation() -> None:
    late = replace(ASKED, ended=10.40, lag=0.02, starved=0.04)
    assert rules(late, without=(ASKED,)) == set()
    counts = check(History({}, [late])).counts
    assert counts["late, saved by the gateway's wait for a processor"] == 1


@pytest.mark.parametrize("what", ["killed", "stopped"])
def test_a_gateway_that_was_killed_or_stopped_meanwhile_owes_nothing(what: str) -> None:
    hurt = Process(10.02, "gateway-1", what)
    closed = replace(ASKED, status=0, trouble="closed", ended=10.2)
    assert rules(hurt, closed, without=(ASKED,)) == set()
    assert rules(replace(hurt, name="gateway-2"), closed, without=(ASKED,)) == {"unanswered"}


def test_a_stopping_gateway_may_close_what_it_has_not_accepted_and_nothing_else() -> None:
    stopping = Process(9.9, "gateway-1", "asked to stop")
    closed = replace(ASKED, status=0, trouble="closed")
    assert rules(stopping, closed, without=(ASKED,)) == {"unanswered"}
    assert rules(stopping, closed, without=(ASKED, SENT, DELIVERED, INFERRED, REPLIED, DELETED)) == set()
    refused = replace(ASKED, status=503, retry_after="1", request="")
    assert rules(stopping, refused, without=(ASKED,)) == set()


def test_a_delete_before_its_reply_is_found_and_one_in_vain_is_not() -> None:
    early = replace(DELETED, at=10.04)
    assert rules(early, without=(DELETED,)) == {"delete before reply"}
    assert rules(replace(DELETED, at=10.025), without=(DELETED,)) == {"delete before reply"}
    unreachable = replace(REPLIED, at=10.035, status=0)
    assert rules(early, unreachable, without=(DELETED, REPLIED)) == set()
    assert rules(early, without=(DELETED, REPLIED, INFERRED)) == set(), "dropped because it could not make it"


def test_work_on_what_has_expired_is_found_unless_the_worker_was_stopped() -> None:
    stale = [replace(INFERRED, at=10.5 + i, number=NUMBER) for i in range(4)]
    late = (replace(DELIVERED, at=10.4),)
    assert "stale inference" in rules(*stale, *late, without=(INFERRED, DELIVERED, DELETED))
    stopped = Process(10.02, "worker-1", "stopped"), Process(14.0, "worker-1", "continued")
    assert "stale inference" not in rules(*stale, *stopped, without=(INFERRED, DELETED))


def test_inferring_again_is_found_unless_the_reply_had_failed_or_another_process_did_it() -> None:
    again = replace(INFERRED, at=10.2)
    assert rules(again) == {"inferred twice"}
    assert rules(again, replace(REPLIED, status=0), without=(REPLIED,)) == set()
    assert rules(replace(again, worker="worker-2")) == set()
    assert rules(Process(10.1, "worker-1", "started"), again) == set()
    assert rules(replace(again, worker="worker-2"), strict=True) == {"inferred twice"}


def test_replies_to_others_are_found() -> None:
    assert rules(replace(REPLIED, gateway="gateway-2")) == {"reply elsewhere"}
    assert rules(Trapped(10.0, "POST /replies")) == {"reply address"}


def test_work_on_hostile_messages_is_found() -> None:
    hostile = Hostile(10.0, "hostile-1", HOSTILE_NUMBER, "unsigned")
    assert rules(hostile, replace(INFERRED, number=HOSTILE_NUMBER)) == {"hostile inferred"}
    assert rules(hostile, replace(REPLIED, request="hostile-1")) == {"hostile answered"}
    assert rules(hostile) == set()


def test_repetitions_beyond_the_budget_are_found() -> None:
    assert rules(*(replace(SENT, at=10.02 + i / 1_000) for i in range(5))) == set()
    assert rules(*(replace(SENT, at=10.02 + i / 1_000) for i in range(20))) == {"retry budget"}


def test_what_a_worker_leaves_in_its_hand_when_it_ends_is_found() -> None:
    end = Process(10.08, "worker-1", "asked to stop"), Process(10.5, "worker-1", "ended")
    held = Delivered(10.07, "worker-1", "another", 9, "held", "plain")
    assert rules(*end) == set()
    assert rules(*end, held) == {"left in hand"}
    assert rules(*end, held, Fault(10.0, 10.3, "reset", "worker-1/sqs")) == set()
    assert rules(end[0], replace(end[1], code=1)) == {"bad end"}
    assert rules(Process(10.08, "worker-1", "died", -11)) == {"died"}


def test_ids_in_labels_too_many_series_and_replies_used_twice_are_found() -> None:
    def scraped(*series: tuple[str, tuple[tuple[str, str], ...], float]) -> Scrape:
        return Scrape(20.0, "gateway-1", series)

    used = ("waypost_gateway_replies_total", (("outcome", "used"),), 2.0)
    answers = ("waypost_gateway_requests_total", (("code", "200"), ("source", "graphsage")), 2.0)
    assert rules(scraped(used, answers)) == set()
    assert rules(scraped(used, (*answers[:2], 1.0))) == {"reply used twice"}
    assert rules(scraped(("a", (("user", str(MARKS.user)),), 1.0))) == {"id in a label"}
    assert rules(scraped(("a", (("request", ID),), 1.0))) == {"id in a label"}
    assert rules(scraped(*(("a", (("n", str(i)),), 1.0) for i in range(501)))) == {"series"}


def test_a_model_that_does_not_come_back_is_found() -> None:
    calm = [degraded(number=100 + i, sent=60.0 + i, ended=60.1 + i, request=f"{i:032x}") for i in range(40)]
    assert rules(*calm) == {"not recovered"}


def test_a_saved_history_is_judged_as_it_was(tmp_path: Path) -> None:
    history = History({"seed": 4}, [*GOOD, replace(INFERRED, at=10.2)])
    again = load(history.save(tmp_path / "history.jsonl"))
    assert again == history
    assert check(again) == check(history)


def test_a_request_is_recognised_by_its_marks() -> None:
    numbers = [*range(1_000), 499_999, HOSTILE_NUMBER]
    assert [number_of_ids(marks_of(n).user, marks_of(n).excluded) for n in numbers] == numbers
    assert len({(marks_of(n).user, marks_of(n).excluded) for n in numbers}) == len(numbers)


def test_a_seed_makes_one_schedule_and_every_kind_of_fault_has_its_turn() -> None:
    names = ["gateway-1", "gateway-2"], ["worker-1", "worker-2"]
    first, again, other = (schedule(seed, 240, 1, 500, *names, postgres=True) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    processes = {step.target.rstrip("-12") for step in first if step.kind == "kill"}
    assert processes == {"sqs", "s3", "triton", "postgres", "gateway", "worker"}
    assert {step.kind for step in first} >= {"stop", "reset", "terminate", "duplicate", "deleted again", "reorder",
                                             "late", "error", "slow", "error after", "hostile"}  # fmt: skip
