"""What asyncio says of an accident names the callback's arguments; our line does not."""

from __future__ import annotations

import asyncio
import logging

import pytest

from waypost.logs.lines import LineFormatter, Process, as_json
from waypost.logs.setup import tell_loop_accidents

USER = "user-" + str(987654321)


def fail(user_id: str) -> None:
    raise ValueError(user_id)


def test_an_accident_on_the_event_loop_is_told_without_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        tell_loop_accidents(loop)
        loop.call_soon(fail, USER)
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    (record,) = caplog.records
    line = LineFormatter(as_json, Process("gateway", serves=True)).format(record)
    assert record.getMessage() == "an exception that nobody awaited"
    assert "ValueError" in line
    assert USER not in line
