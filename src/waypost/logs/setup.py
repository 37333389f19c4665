"""Where all lines go: to standard error, of a process that serves by a writer's thread, and of every other at once."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TextIO

from waypost.logs.lines import Line, LineFormatter, Process, as_json, as_text
from waypost.logs.writer import LogWriter

CHATTY = ("botocore", "boto3", "urllib3", "s3transfer", "uvicorn.access")
logger = logging.getLogger("waypost")
_process = Process()


class _StandardError(logging.StreamHandler[TextIO]):
    """Whatever standard error is at the moment, so that a line above a live bar does not tear it."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """The base class sets it once; there is nothing to keep."""


class _Written(logging.Handler):
    """Formed where it is logged, for what it tells may change; written by the writer."""

    def __init__(self, writer: LogWriter, formatter: LineFormatter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self.format(record))
        except Exception:  # Python's own way out prints the arguments
            self._writer.put(Line(record.created, logging.ERROR, record.name, "a log line could not be formed", {}))


def configure(level: str = "INFO", style: str = "auto", process: str = "") -> None:
    """Send all log lines to standard error; `style` is `json`, `text`, or `auto` (text on a terminal)."""
    _process.name = process
    handler = _StandardError()
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler.setFormatter(LineFormatter(as_text if text else as_json, _process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def tell_release(model_version: Callable[[], int | None]) -> None:
    """Which release this process serves now, for its lines that are about no other."""
    _process.model_version = model_version


@contextmanager
def serving(name: str) -> Iterator[LogWriter]:
    """A process that answers callers: no line holds it up, none quotes a caller, and an accident is a line too.

    That stays so to the end of the process; what was logged before the block's end is written then.
    """
    _process.name, _process.serves = name, True
    writer = _written_by_a_thread()
    _tell_accidents()
    try:
        yield writer
    finally:
        writer.close()


def _written_by_a_thread() -> LogWriter:
    root = logging.getLogger()
    formatters = [handler.formatter for handler in root.handlers if isinstance(handler, _StandardError)]
    formatter = formatters[0] if formatters and isinstance(formatters[0], LineFormatter) else None
    formatter = formatter or LineFormatter(as_json, _process)
    writer = LogWriter(lambda line: formatter.style(line, _process))
    root.handlers[:] = [_Written(writer, formatter)]
    return writer


def _tell_accidents() -> None:
    """What Python itself would print as text."""
    warnings.showwarning = _tell_warning
    sys.excepthook = partial(_tell_end, "the process ended by an exception")
    threading.excepthook = _tell_dead_thread
    sys.unraisablehook = _tell_unraisable


def tell_loop_accidents(loop: asyncio.AbstractEventLoop) -> None:
    """As lines without what asyncio says of them, which quotes the arguments of callbacks."""
    loop.set_exception_handler(_tell_of_loop)


def _tell_of_loop(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    known = (type(error), error, error.__traceback__) if isinstance(error, BaseException) else None
    logger.error("an exception that nobody awaited", exc_info=known)


def _tell_end(sentence: str, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    logger.critical(sentence, exc_info=(kind, error, where))


def _tell_dead_thread(gone: threading.ExceptHookArgs) -> None:
    if gone.exc_value is None or isinstance(gone.exc_value, SystemExit):
        return
    name = gone.thread.name if gone.thread else ""
    known = (gone.exc_type, gone.exc_value, gone.exc_traceback)
    logger.critical("a thread ended by an exception", exc_info=known, extra={"thread_name": name})


def _tell_unraisable(found: sys.UnraisableHookArgs) -> None:
    known = (found.exc_type, found.exc_value, found.exc_traceback) if found.exc_value else None
    logger.error("an exception that could not be raised", exc_info=known)


def _tell_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
) -> None:
    """Without its text, which may quote too; the place tells which it is."""
    logger.warning("a warning of Python", extra={"category": category.__name__, "where": f"{filename}:{lineno}"})
