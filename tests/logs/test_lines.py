"""What a line says, and what it never says."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from waypost import __version__
from waypost.errors import QueueUnavailable
from waypost.logs import begin_request, cause_of
from waypost.logs.context import _request_id
from waypost.logs.lines import LineFormatter, Process, as_json, as_text

USER = "user-" + str(987654321)  # so that no line of this file has it
SERVING = Process("gateway", serves=True, model_version=lambda: 7)


def said(
    process: Process = SERVING, event: str = "it happened", error: BaseException | None = None, **fields: Any
) -> Any:
    known = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("a.noun", logging.WARNING, __file__, 1, event, (), known)
    vars(record).update(fields)
    line = LineFormatter(as_json, process).format(record)
    assert "\n" not in line
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def raised(by: Any) -> BaseException:
    try:
        by()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def test_a_line_says_when_how_grave_who_of_which_version_with_which_release_and_what() -> None:
    line = said(posts=3)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning", "process": "gateway", "version": __version__, "model_version": 7, "logger": "a.noun",
        "event": "it happened", "posts": 3,
    }  # fmt: skip


def test_a_line_about_another_release_says_that_one() -> None:
    assert said(model_version=8)["model_version"] == 8


def test_a_line_while_a_request_is_in_hand_names_it() -> None:
    before = _request_id.set(None)
    try:
        assert "request_id" not in said()
        mine = begin_request()
        assert said()["request_id"] == mine
        assert said(request_id="another")["request_id"] == "another"
    finally:
        _request_id.reset(before)


@pytest.mark.parametrize("odd", [float("nan"), 2**70, "\ud800", {1: {2}}, "two\nlines", object(), b"\xff"])
def test_whatever_a_field_holds_it_is_one_object_on_one_line(odd: object) -> None:
    assert "odd" in said(odd=odd)


class TestExceptionsOfAProcessThatServes:
    def test_what_quotes_its_input_is_told_by_class_and_place(self) -> None:
        error = raised(lambda: TypeAdapter(int).validate_python(USER))
        assert USER in str(error)
        told = said(error=error)["exception"]
        assert USER not in told
        assert "ValidationError" in told
        assert "test_lines.py" in told

    def test_what_is_behind_it_too(self) -> None:
        def wrapped() -> None:
            try:
                dict[str, int]()[USER]
            except KeyError as error:
                raise RuntimeError(USER) from error

        told = said(error=raised(wrapped))["exception"]
        assert USER not in told
        assert told.index("KeyError") < told.index("RuntimeError")

    def test_ours_and_the_systems_say_what_they_mean(self) -> None:
        assert "SQS refused: why" in said(error=QueueUnavailable("SQS refused: why"))["exception"]
        assert "No such file" in said(error=raised(Path("/nowhere/at/all").read_text))["exception"]

    def test_a_cause_is_our_sentence_or_a_class(self) -> None:
        assert cause_of(QueueUnavailable("SQS is down", "wait")) == "SQS is down; wait"
        assert cause_of(ValueError(USER)) == "ValueError"


def test_a_verb_at_night_tells_an_exception_whole() -> None:
    assert USER in said(Process("night"), error=raised(lambda: int(USER)))["exception"]


def test_on_a_terminal_a_line_is_for_people() -> None:
    record = logging.LogRecord("a.noun", logging.WARNING, __file__, 1, "it happened", (), None)
    record.seconds = 0.123456
    assert LineFormatter(as_text, SERVING).format(record)[9:] == "warning: it happened  seconds=0.1235"
