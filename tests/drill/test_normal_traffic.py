"""Half an hour of an ordinary day: steady traffic, two good releases and a night. Nobody is called.

`DRILL_MINUTES=5 make drill ARGS="-k ordinary"` makes it shorter.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.drill.alerting import a_watched_world
from tests.drill.watching import REPORT
from tests.soak.load import Load
from tests.test_end_to_end import known_users

MINUTES = float(os.environ.get("DRILL_MINUTES", "30"))
CHANGES = ("exporter", "exporter", "night")  # each makes a release
CALLERS, REST_SECONDS = 2, 0.05  # about thirty requests a second

pytestmark = [pytest.mark.drill, pytest.mark.timeout(60 * (MINUTES + 20))]


def test_an_ordinary_half_hour_with_two_releases_and_a_night_calls_nobody(
    stack_folders: Path, alerting_programs: None
) -> None:
    with a_watched_world(stack_folders / "ordinary") as watched:
        users, began = known_users(watched.waypost)[:200], time.monotonic()
        with Load(watched.waypost.part_url, users, CALLERS, deadline_ms=250, rest_seconds=REST_SECONDS) as load:
            served = []
            for number, verb in enumerate(CHANGES, 1):
                rest_until(began + 60 * MINUTES * number / (len(CHANGES) + 1))
                served.append(watched.publish(verb))
            rest_until(began + 60 * MINUTES)
        fired = watched.prometheus.query(f'count_over_time(ALERTS{{alertstate="firing"}}[{MINUTES + 10:.0f}m])')
        by_model = len(load.outcomes) - len(load.without_model())
        REPORT.append(
            f"{MINUTES:.0f} ordinary minutes, releases {served}: {len(load.outcomes)} requests, {by_model} by the"
            f" model, p99 {1e3 * load.p99():.0f} ms, {len(watched.receiver.arrived)} alerts"
        )
        assert watched.receiver.arrived == []
        assert fired == []
        assert len(set(served)) == len(CHANGES)
        assert by_model > 0.99 * len(load.outcomes), load.kinds()


def rest_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
