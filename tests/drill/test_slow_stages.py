"""The story's regression, on purpose: 120 ms in one stage of a new release, or of a new gateway, and how soon the alert
with that stage and that release arrives. `make drill` runs these and prints the times."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import waypost as package
from tests.drill.alerting import Watched, a_watched_world
from tests.drill.watching import REPORT
from tests.soak.load import Load
from tests.test_end_to_end import known_users

SLOWER_MILLISECONDS = 120
BOUND_SECONDS = 300.0
PATIENCE_SECONDS = BOUND_SECONDS + 30
CALM_SECONDS = 90.0  # of the release before, so that there is something to compare with
NEXT_VERSION = "99.0.0"  # of the gateway
WORKER_STAGES = ("tokenize", "infer", "reply")

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3_600)]


@pytest.fixture(scope="module")
def watched(stack_folders: Path, alerting_programs: None) -> Iterator[Watched]:
    # Without a trial of the new release, which would give it up before a caller felt it: see docs/releases.md.
    with a_watched_world(
        stack_folders / "slow", WAYPOST_WORKER_CANARY_SHARE="0", WAYPOST_FAULTS_ALLOWED="yes"
    ) as found:
        yield found


@pytest.mark.parametrize("stage", WORKER_STAGES)
def test_a_release_that_is_slower_in_one_stage_is_named(watched: Watched, stage: str) -> None:
    slow = str(watched.version() + 2)
    watched.restart("worker", WAYPOST_FAULTS=f"{stage}:{SLOWER_MILLISECONDS}:{slow}")
    with Load(watched.waypost.part_url, known_users(watched.waypost)[:200], callers=2, deadline_ms=3_000):
        watched.publish()  # the release before, as fast as ever
        time.sleep(CALM_SECONDS)
        since = time.monotonic()
        assert str(watched.publish()) == slow
        seconds = watched.wait_for("WaypostReleaseSlower", since, PATIENCE_SECONDS, stage=stage, model_version=slow)
    report(f"{stage} of release {slow}", seconds)
    others = {
        (told["stage"], told["model_version"]) for _, told in watched.receiver.named("WaypostReleaseSlower", since)
    }
    assert others == {(stage, slow)}


def test_a_gateway_that_is_slower_in_enqueue_is_named(watched: Watched, tmp_path: Path) -> None:
    with Load(watched.waypost.part_url, known_users(watched.waypost)[:200], callers=2, deadline_ms=3_000):
        time.sleep(CALM_SECONDS)
    source = a_copy_of_another_version(tmp_path)
    named, since = {"stage": "enqueue", "version": NEXT_VERSION}, time.monotonic()
    watched.restart("gateway", PYTHONPATH=str(source), WAYPOST_FAULTS=f"enqueue:{SLOWER_MILLISECONDS}:{NEXT_VERSION}")
    with Load(watched.waypost.part_url, known_users(watched.waypost)[:200], callers=2, deadline_ms=3_000):
        seconds = watched.wait_for("WaypostGatewaySlower", since, PATIENCE_SECONDS, **named)
    report(f"enqueue of gateway {NEXT_VERSION}", seconds)


def report(fault: str, seconds: float | None) -> None:
    REPORT.append(f"{fault:<46} alert after {'nothing' if seconds is None else f'{seconds:.0f} s'}")
    assert seconds is not None, f"no alert named {fault}"
    assert seconds <= BOUND_SECONDS


def a_copy_of_another_version(folder: Path) -> Path:
    """The code of now under the next version's number: what a deployment of a new gateway is to Prometheus."""
    here = Path(package.__file__).parent
    copy = folder / "source" / here.name
    shutil.copytree(here, copy, ignore=shutil.ignore_patterns("__pycache__"))
    written = (copy / "__init__.py").read_text().replace(package.__version__, NEXT_VERSION)
    (copy / "__init__.py").write_text(written)
    return copy.parent
