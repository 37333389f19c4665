"""How far long work is: a live bar on a terminal, a line every few seconds elsewhere; and what a stage took."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from waypost.logs.lines import short

PROGRESS_INTERVAL_SECONDS = 2.0  # often enough to see life, rare enough for a log collector


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
            facts = " ".join(f"{name}={short(value)}" for name, value in {**self._rate(), **fields}.items())
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
