"""What on-call wants to know of a gateway that no request tells: how deep is the queue, how old are the keys, and how
many dead letters are there.

A depth is the queue's own approximate count, read every few seconds; where a queue cannot be read there is no figure
rather than an old one. Dead letters are counted where they lie, because those that the queue itself set aside (after
three receives by workers that died) no worker has counted.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from waypost.errors import QueueUnavailable
from waypost.metrics import GatewayMetrics
from waypost.queueing.protocols import RequestQueue

LOOK_SECONDS = 15.0  # as often as Prometheus usually scrapes
_CREATED = re.compile(r'"created"\s*:\s*"(\d{4}-\d{2}-\d{2})"')  # of a key, in JSON
logger = logging.getLogger(__name__)


async def watch(
    queue: RequestQueue, dead_letters: RequestQueue | None, keys: Mapping[str, Path], metrics: GatewayMetrics
) -> None:
    """Look now and then every so many seconds, until cancelled."""
    while True:
        await asyncio.to_thread(look, queue, dead_letters, keys, metrics)
        await asyncio.sleep(LOOK_SECONDS)


def look(
    queue: RequestQueue, dead_letters: RequestQueue | None, keys: Mapping[str, Path], metrics: GatewayMetrics
) -> None:
    """One look; never raises. `keys`: files of keys by the name that the metric calls them."""
    try:
        _look_at_queue(queue, metrics)
        if dead_letters is not None:
            metrics.dead_letters.set(_count(dead_letters))
        _look_at_keys(keys, metrics)
    except Exception:
        logger.exception("a look at queues and keys failed")


def _look_at_queue(queue: RequestQueue, metrics: GatewayMetrics) -> None:
    try:
        depth = queue.depth()
    except QueueUnavailable:  # the breaker and the answers' cause say so already
        metrics.queue.clear()
        return
    metrics.queue.labels("visible").set(depth.visible)
    metrics.queue.labels("in_flight").set(depth.in_flight)


def _count(queue: RequestQueue) -> float:
    """Its messages, those that somebody is reading included; NaN where it cannot be read."""
    try:
        depth = queue.depth()
    except QueueUnavailable:
        return math.nan
    return depth.visible + depth.in_flight


def _look_at_keys(keys: Mapping[str, Path], metrics: GatewayMetrics) -> None:
    for name, path in keys.items():
        metrics.key_changed.labels(name).set(newest_key(path))


def newest_key(path: Path) -> float:
    """When the newest key of the file was made, in seconds since the epoch: by the keys' own `created` (a date), else
    by the file's time, which a mounted Secret renews with every pod; NaN for a file that cannot be read."""
    try:
        text, changed = path.read_text(), path.stat().st_mtime
    except (OSError, UnicodeDecodeError):
        return math.nan
    made = [day for written in _CREATED.findall(text) if (day := _start_of(written)) is not None]
    return max(made, default=changed)


def _start_of(day: str) -> float | None:
    try:
        return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
