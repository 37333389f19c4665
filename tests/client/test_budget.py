"""What a second try costs: nothing where the first one reached nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from tests.client.conftest import StartServer, answers, closes
from waypost.client.addresses import LONGEST_REST_SECONDS
from waypost.client.asking import Asked
from waypost.client.call import Calls
from waypost.client.exchange import Failure, Outcome
from waypost.http_models import RecommendRequest
from waypost.queueing.retry_budget import RetryBudget


def nothing_saved() -> RetryBudget:
    return RetryBudget(share=0.0, saved=0.0)


def ask_each_address_first(*gateways: str) -> list[Outcome]:
    """As many calls as addresses, one client: each address has the first try of one."""
    fields = {"user_id": 42, "deadline_ms": 2_000}

    async def ask() -> list[Outcome]:
        calls = Calls(gateways, None, None, nothing_saved())
        try:
            return [await calls.ask(Asked(RecommendRequest.model_validate(fields), fields)) for _ in gateways]
        finally:
            await calls.close()

    return asyncio.run(ask())


@pytest.fixture
def refusing() -> str:
    """The address of nobody."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_refused_connection_is_tried_elsewhere_with_an_empty_budget(start_server: StartServer, refusing: str) -> None:
    outcomes = ask_each_address_first(refusing, start_server().url)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Failure)]


def test_a_connection_that_took_the_question_and_closed_is_not(start_server: StartServer) -> None:
    outcomes = ask_each_address_first(start_server(closes).url, start_server().url)
    assert [outcome.cause for outcome in outcomes if isinstance(outcome, Failure)] == ["closed"]


class FastLoop(asyncio.SelectorEventLoop):
    """Its clock can be put forward, as if nobody had called meanwhile."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


def ask_now_and_then(
    gateways: list[str], calls: int, pause: float, before_each: Callable[[int], object] = lambda call: None
) -> list[Outcome]:
    """As many calls of one client, so many seconds apart."""
    fields = {"user_id": 42, "deadline_ms": 2_000}

    async def ask(loop: FastLoop) -> list[Outcome]:
        asking, outcomes = Calls(gateways, None, None), list[Outcome]()
        try:
            for call in range(calls):
                before_each(call)
                outcomes.append(await asking.ask(Asked(RecommendRequest.model_validate(fields), fields)))
                loop.skipped += pause
        finally:
            await asking.close()
        return outcomes

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, FastLoop)
        return runner.run(ask(loop))


def test_few_calls_of_which_every_second_meets_a_dead_gateway_never_fall_back(start_server: StartServer) -> None:
    """A call a second, and one of two gateways takes every question and closes: nothing fills the budget."""
    dead, well = start_server(closes), start_server()
    outcomes = ask_now_and_then([dead.url, well.url], 120, 1.05)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert len(dead.asked) <= 10  # after 1, 2, 4, 8, 16, 30, 60, 90, 120 s


def test_a_gateway_that_was_long_dead_and_came_back_is_asked_in_turn_again(start_server: StartServer) -> None:
    back, well = start_server(closes), start_server()

    def come_back(call: int) -> None:
        if call == 60:
            back.behaviour = answers
        if call == 60 + LONGEST_REST_SECONDS:
            back.asked.clear()

    ask_now_and_then([back.url, well.url], 120, 1.05, come_back)
    assert len(back.asked) == (120 - 60 - LONGEST_REST_SECONDS) / 2
