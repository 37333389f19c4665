"""LogWriter: lines get out by a thread of its own, so that nobody who has one waits for a disk or a pipe.

What waits is bounded; beyond that lines are lost, counted, and the loss is a line itself. A process that ends in order
writes everything first; one that is killed loses the last moment.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from waypost.logs.lines import Line

MAX_WAITING = 20_000  # lines, about 20 MB: seconds of the worst load, while a pipe's reader is stuck
LINGER_SECONDS = 0.25  # in which lines of requests gather: few wake-ups, one write for many
TICK_SECONDS = 1.0
LINES_A_WRITE = 200  # a write lets other threads run, which forming lines does not
LATE_SECONDS = 0.2  # that a line after the end waits for the thread
CLOSE_SECONDS = 2.0  # a reader that is stuck for longer may not hold up the end of the process
logger = logging.getLogger(__name__)


class LogWriter:
    """Safe for use by any thread; `form` makes a Line one line of text. Nothing here ever raises to whoever logs."""

    def __init__(
        self,
        form: Callable[[Line], str],
        out: Callable[[], TextIO] = lambda: sys.stderr,
        close_seconds: float = CLOSE_SECONDS,
    ) -> None:
        self._form, self._out, self._close_seconds = form, out, close_seconds
        self._waiting: deque[Line | str] = deque()
        self._hurry, self._closed = threading.Event(), threading.Event()
        self._writing, self._counting = threading.Lock(), threading.Lock()
        self._untold = 0  # lost lines that no line has told of yet
        self.lost = 0  # lines, since the start
        self._ticks: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: Line | str) -> None:
        """To be written soon; a text, which stays as it is, at once: such lines are rare and may be a process' last."""
        if len(self._waiting) >= MAX_WAITING:
            self._lose(1)
            return
        self._waiting.append(line)
        if self._closed.is_set():
            self._write_late()
        elif isinstance(line, str):
            self._hurry.set()

    def each_second(self, tick: Callable[[], None]) -> None:
        """Have it called, too, from the writer's thread, and once more at the end."""
        self._ticks.append(tick)

    def close(self) -> None:
        """Returns once everything is written, or nothing moves any more. Later lines are written where they are put."""
        self._tick()
        self._closed.set()
        self._hurry.set()
        self._thread.join(self._close_seconds)

    def _run(self) -> None:
        due = time.monotonic() + TICK_SECONDS
        while not self._closed.is_set():
            self._hurry.wait(LINGER_SECONDS)
            self._hurry.clear()
            self._write_waiting()
            if time.monotonic() >= due:
                due = time.monotonic() + TICK_SECONDS
                self._tick()
        self._write_waiting()

    def _write_late(self) -> None:
        """After the thread, unless it is stuck in a write."""
        if self._writing.acquire(timeout=LATE_SECONDS):
            self._writing.release()
            self._write_waiting()

    def _write_waiting(self) -> None:
        with self._writing:
            while self._waiting:
                lines = [self._waiting.popleft() for _ in range(min(LINES_A_WRITE, len(self._waiting)))]
                if not self._write("".join(f"{self._text(line)}\n" for line in lines)):
                    self._lose(len(lines))
                elif self._untold:
                    self._write(self._text(self._loss()) + "\n")

    def _text(self, line: Line | str) -> str:
        if isinstance(line, str):
            return line
        try:
            return self._form(line)
        except Exception:  # a field that cannot even be told as text: the sentence alone
            return self._form(Line(line.time, line.level, line.logger, line.event, {}))

    def _write(self, text: str) -> bool:
        try:
            out = self._out()
            out.write(text)
            out.flush()
        except (OSError, ValueError):  # a closed pipe or file
            return False
        return True

    def _lose(self, lines: int) -> None:
        with self._counting:
            self.lost += lines
            self._untold += lines

    def _loss(self) -> Line:
        with self._counting:
            lost, self._untold = self._untold, 0
        return Line(time.time(), logging.ERROR, logger.name, "log lines were lost", {"lines": lost})

    def _tick(self) -> None:
        for tick in self._ticks:
            tick()
