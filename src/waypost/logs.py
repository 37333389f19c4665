"""Log lines and progress: on a terminal people read text, elsewhere each line is one JSON object.

A log line is a fixed sentence and fields: `logger.info("snapshot read", extra={"nodes": n})`. Standard output is never
used here: it belongs to what a verb prints as its result.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
PROGRESS_INTERVAL_SECONDS = 2.0  # often enough to see life, rare enough for a log collector


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, the fixed sentence, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """`05:14:03 snapshot read  nodes=3 edges=4`, for people at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        fields = " ".join(f"{name}={_short(value)}" for name, value in _fields(record).items())
        line = f"{clock} {mark}{record.getMessage()}" + (f"  {fields}" if fields else "")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _StandardError(logging.StreamHandler[TextIO]):
    """Whatever standard error is at the moment, so that a line above a live bar does not tear it."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """The base class sets it once; there is nothing to keep."""


def configure(level: str = "INFO", style: str = "auto") -> None:
    """Send all log lines to standard error; `style` is `json`, `text`, or `auto` (text on a terminal)."""
    handler = _StandardError()
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("botocore", "boto3", "urllib3", "s3transfer", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextmanager
def stage(logger: logging.Logger, name: str, **fields: object) -> Iterator[dict[str, object]]:
    """Log `<name>` with its seconds once the block ends well; the block may add fields to the yielded dict."""
    started = time.monotonic()
    found: dict[str, object] = {}
    yield found
    logger.info(name, extra={**fields, **found, "seconds": round(time.monotonic() - started, 3)})


class Progress:
    """Says how far a long piece of work is: a live bar on a terminal, a log line every few seconds elsewhere.

    `with Progress(logger, "training", "steps", total) as progress:` and `progress.advance(1, loss=…)` inside.
    """

    def __init__(self, logger: logging.Logger, event: str, unit: str, total: int | None = None) -> None:
        self._logger, self._event, self._unit, self._total = logger, event, unit, total
        self._started = self._spoke = time.monotonic()
        self._done = 0
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} {task.fields[unit]} {task.fields[facts]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.add_task(self._event, total=self._total, unit=self._unit, facts="")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: int, **fields: object) -> None:
        """Count `amount` more units done; `fields` are shown beside them (a loss, a file name)."""
        self._done += amount
        if self._bar is not None:
            facts = " ".join(f"{name}={_short(value)}" for name, value in {**self._rate(), **fields}.items())
            self._bar.update(self._bar.task_ids[0], advance=amount, facts=facts)
            return
        now = time.monotonic()
        if now - self._spoke >= PROGRESS_INTERVAL_SECONDS:
            self._spoke = now
            self._logger.info(self._event, extra={**self._report(), **fields})

    def _report(self) -> dict[str, object]:
        report: dict[str, object] = {self._unit: self._done, **self._rate()}
        if self._total:
            report["of"] = self._total
            report["remaining_seconds"] = round(self._elapsed / max(self._done, 1) * (self._total - self._done))
        return report

    def _rate(self) -> dict[str, object]:
        return {f"{self._unit}_per_second": round(self._done / self._elapsed)}

    @property
    def _elapsed(self) -> float:
        return max(time.monotonic() - self._started, 1e-9)
