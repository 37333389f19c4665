"""Every request has one outcome, whatever comes twice, late or for somebody else; and nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from waypost.gateway.pending import Cause, Pending
from waypost.questions import Answer
from waypost.queueing.replies import Reply

USER = 42
EVENTS = st.lists(
    st.tuples(st.sampled_from(["reply", "foreign", "queue", "error", "turn"]), st.integers(0, 2)), max_size=20
)


def a_reply(request_id: str, user_id: int = USER) -> Reply:
    return Reply(request_id, user_id, Answer(7, "graphsage", ()))


@given(events=EVENTS)
def test_each_request_has_exactly_one_outcome_and_the_first_event_decides_it(events: list[tuple[str, int]]) -> None:
    async def history() -> None:
        pending, used = Pending(), [0, 0, 0]
        first: dict[int, str] = {}
        waits = []
        for number in range(3):
            waiting = pending.open(str(number), USER)
            waits.append(asyncio.create_task(pending.wait(str(number), waiting, 0.001)))
        for event, number in events:
            if event == "turn":
                await asyncio.sleep(0)
                continue
            if any(wait.done() for wait in waits):
                break  # the timeout may have been quicker
            first.setdefault(number, event)
            if event in ("reply", "foreign"):
                used[number] += pending.resolve(a_reply(str(number), USER if event == "reply" else USER + 1))
            else:
                pending.fail(str(number), "queue" if event == "queue" else "error")
        outcomes = await asyncio.gather(*waits)
        for number, outcome in enumerate(outcomes):
            match first.get(number):
                case "reply":
                    assert isinstance(outcome, Answer)
                case "foreign":
                    assert outcome == "reply"
                case None:
                    assert outcome == "timeout"
                case cause:
                    assert outcome == cause
            assert used[number] == (first.get(number) in ("reply", "foreign"))
        assert len(pending) == 0

    asyncio.run(history())


def test_a_late_reply_finds_nobody() -> None:
    async def late() -> tuple[Answer | Cause, bool]:
        pending = Pending()
        outcome = await pending.wait("1", pending.open("1", USER), 0)
        return outcome, pending.resolve(a_reply("1"))

    assert asyncio.run(late()) == ("timeout", False)


def test_a_caller_who_leaves_leaves_nothing_behind() -> None:
    async def leaves() -> int:
        pending = Pending()
        wait = asyncio.create_task(pending.wait("1", pending.open("1", USER), 30))
        await asyncio.sleep(0)
        wait.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await wait
        return len(pending)

    assert asyncio.run(leaves()) == 0
