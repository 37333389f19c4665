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


def configure(level: str = "INFO", style: str = "auto") -> None:
    """Send all log lines to standard error; `style` is `json`, `text`, or `auto` (text on a terminal)."""
    handler = logging.StreamHandler(sys.stderr)
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
    """Says how far a long piece of work is: a live line on a terminal, a log line every few seconds elsewhere."""

    def __init__(self, logger: logging.Logger, event: str, unit: str, total: int | None = None) -> None:
        self._logger, self._event, self._unit, self._total = logger, event, unit, total
        self._started = self._spoke = time.monotonic()
        self._done = 0

    def advance(self, amount: int, **fields: object) -> None:
        """Count `amount` more units done; `fields` are shown beside them (a loss, a file name)."""
        self._done += amount
        now = time.monotonic()
        if now - self._spoke >= PROGRESS_INTERVAL_SECONDS:
            self._spoke = now
            self._logger.info(self._event, extra={**self._report(now), **fields})

    def _report(self, now: float) -> dict[str, object]:
        elapsed = max(now - self._started, 1e-9)
        report: dict[str, object] = {self._unit: self._done, f"{self._unit}_per_second": round(self._done / elapsed)}
        if self._total:
            report["of"] = self._total
            report["remaining_seconds"] = round(elapsed / max(self._done, 1) * (self._total - self._done))
        return report
