"""What a second try costs: nothing where the first one reached nobody."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.client.conftest import StartServer, closes
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
