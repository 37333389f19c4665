"""What on-call is told of a gateway's queue and keys."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path

from waypost.gateway.key_making import make_key
from waypost.gateway.quotas import Quota
from waypost.gateway.watching import look, newest_key
from waypost.metrics import GatewayMetrics
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.protocols import OutgoingMessage


def value(metrics: GatewayMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_the_depth_is_the_queues_own_count_and_gone_while_it_cannot_be_read() -> None:
    queue, metrics = MemoryQueue(), GatewayMetrics()
    queue.send([OutgoingMessage(b"{}", {})] * 3)
    queue.receive(1, 0)
    look(queue, None, {}, metrics)
    assert value(metrics, "waypost_gateway_queue_messages", state="visible") == 2
    assert value(metrics, "waypost_gateway_queue_messages", state="in_flight") == 1
    queue.reachable = False
    look(queue, None, {}, metrics)
    assert value(metrics, "waypost_gateway_queue_messages", state="visible") is None


def test_dead_letters_are_counted_where_they_lie_and_unknown_while_they_cannot_be() -> None:
    queue, dead_letters, metrics = MemoryQueue(), MemoryQueue(), GatewayMetrics()
    assert math.isnan(value(metrics, "waypost_gateway_dead_letter_messages") or 0)
    look(queue, dead_letters, {}, metrics)
    assert value(metrics, "waypost_gateway_dead_letter_messages") == 0
    dead_letters.send([OutgoingMessage(b"{}", {})] * 3)
    dead_letters.receive(1, 0)  # somebody reads one
    look(queue, dead_letters, {}, metrics)
    assert value(metrics, "waypost_gateway_dead_letter_messages") == 3
    dead_letters.reachable = False
    look(queue, dead_letters, {}, metrics)
    assert math.isnan(value(metrics, "waypost_gateway_dead_letter_messages") or 0)


def test_refusals_are_there_before_the_first_one() -> None:
    for code in ("429", "503"):
        assert value(GatewayMetrics(), "waypost_gateway_requests_total", code=code, source="none") == 0


def test_the_newest_keys_own_date_counts_and_not_the_files(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = [{"id": "a", "created": "2026-01-31"}, {"id": "b", "created": "2025-12-01"}, {"id": "c"}]
    file.write_text(json.dumps({"keys": keys}))
    assert newest_key(file) == datetime(2026, 1, 31, tzinfo=UTC).timestamp()


def test_without_a_date_the_files_time_counts(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"keys": [{"id": "a", "created": "2026-02-31"}]}')  # a day that there is not
    os.utime(file, (1_000, 1_000))
    assert newest_key(file) == 1_000


def test_a_file_that_is_gone_has_no_age(tmp_path: Path) -> None:
    assert math.isnan(newest_key(tmp_path / "none"))


def test_a_key_that_the_verb_makes_is_of_today(tmp_path: Path) -> None:
    file = tmp_path / "api-keys.json"
    before = datetime.now(UTC).date()
    make_key(file, "app", None, Quota())
    assert newest_key(file) >= datetime.combine(before, datetime.min.time(), UTC).timestamp()
