"""What only the awaiting client can be asked: many calls at once on one loop, a call that is given up, another loop."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.gateway.conftest import eventually
from waypost.client import AsyncClient

from .conftest import PATIENT_MS, StartServer, is_silent


def test_many_calls_at_once_share_the_connections_of_one_client(start_server: StartServer) -> None:
    server = start_server()

    async def ask_all() -> list[int | str]:
        async with AsyncClient(server.url) as client:
            for _ in range(5):
                calls = [client.recommend(user, 1, deadline_ms=PATIENT_MS) for user in range(20)]
                answers = await asyncio.gather(*calls)
            return [answer.user_id for answer in answers]

    assert asyncio.run(ask_all()) == list(range(20))
    hedges = len(server.asked) - 100  # on a busy machine some are late, and the budget allows them
    assert 0 <= hedges <= 20
    assert server.connections <= 20 + hedges


def test_a_call_that_the_app_gives_up_ends_at_once_and_leaves_nothing_behind(start_server: StartServer) -> None:
    server = start_server(is_silent)

    async def give_up() -> int:
        async with AsyncClient(server.url, fallback=[1]) as client:
            call = asyncio.create_task(client.recommend(42, deadline_ms=PATIENT_MS))
            await asyncio.to_thread(eventually, lambda: bool(server.asked))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.sleep(0)
            return len(asyncio.all_tasks())

    assert asyncio.run(give_up()) == 1


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")  # the first loop ended with its connections open
def test_a_client_that_comes_to_another_loop_connects_anew(start_server: StartServer) -> None:
    client = AsyncClient(start_server().url)
    for _ in range(2):
        assert asyncio.run(client.recommend(42, deadline_ms=PATIENT_MS)).source == "graphsage"
    asyncio.run(client.close())
    gc.collect()
