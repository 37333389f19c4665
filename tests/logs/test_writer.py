"""The writer: nobody waits for it, what it loses it counts, and at the end everything is out."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable

from waypost.logs import writer as writing
from waypost.logs.lines import Line
from waypost.logs.writer import LogWriter


class StuckPipe(io.StringIO):
    """Whose reader reads nothing until told."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.stuck = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.stuck.set()
        self.reads.wait()
        return super().write(text)


def a_line(event: str = "it happened") -> Line:
    return Line(0.0, logging.INFO, "a.noun", event, {})


def by_event(line: Line) -> str:
    return line.event


def eventually(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.005)


def test_lines_come_out_in_their_order_and_all_of_them_by_the_end() -> None:
    out = io.StringIO()
    writer = LogWriter(by_event, lambda: out)
    for i in range(1_000):
        writer.put(a_line(str(i)) if i % 2 else str(i))
    writer.close()
    assert out.getvalue().split() == [str(i) for i in range(1_000)]


def test_a_line_after_the_end_is_written_too() -> None:
    out = io.StringIO()
    writer = LogWriter(by_event, lambda: out)
    writer.close()
    writer.put("the very last")
    assert out.getvalue() == "the very last\n"


def test_a_stuck_reader_holds_nobody_up_and_what_is_lost_is_counted_and_told() -> None:
    pipe = StuckPipe()
    writer = LogWriter(by_event, lambda: pipe)
    writer.put("first")
    pipe.stuck.wait()
    for _ in range(writing.MAX_WAITING + 500):
        writer.put(a_line("another"))  # would hang here
    assert writer.lost >= 500
    pipe.reads.set()
    writer.close()
    written = pipe.getvalue().splitlines()
    assert written.count("another") + writer.lost == writing.MAX_WAITING + 500
    assert written.count("log lines were lost") == 1


def test_a_reader_that_stays_stuck_does_not_keep_the_process_from_ending() -> None:
    pipe = StuckPipe()
    writer = LogWriter(by_event, lambda: pipe, close_seconds=0.01)
    writer.put("first")
    pipe.stuck.wait()
    writer.close()
    writer.put("after")
    pipe.reads.set()


def test_a_closed_standard_error_is_nobodys_trouble() -> None:
    out = io.StringIO()
    out.close()
    writer = LogWriter(by_event, lambda: out)
    writer.put("into nothing")
    eventually(lambda: writer.lost == 1)
    writer.close()


def test_a_line_that_cannot_be_formed_says_its_sentence() -> None:
    def form(line: Line) -> str:
        return f"{line.event} {line.fields['user']}" if line.fields else line.event

    out = io.StringIO()
    writer = LogWriter(form, lambda: out)
    writer.put(Line(0.0, logging.INFO, "a.noun", "it happened", {"odd": 1}))
    writer.close()
    assert out.getvalue() == "it happened\n"
