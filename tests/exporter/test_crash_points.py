"""Whoever moves releases is killed before and after every single call to the store. After each kill a reader finds the
old release whole or the new one whole, never a mixture and never an error; and the next run puts everything right.

On the in-memory twin, on the real S3 emulator, and with real processes that end without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.exporter.killing import Killed, KillingStore, When
from tests.exporter.nights import (
    KEY,
    TRUSTED,
    a_release_for,
    break_pointer,
    pointer_of,
    run_night,
    some_files,
    two_days_later,
)
from waypost.errors import CorruptObject, NoRelease
from waypost.objects.bundle import MANIFEST
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.audit import read_lines
from waypost.release.moves import pin, point_to, retreat, roll_back, unpin
from waypost.release.pointer import read_pointer
from waypost.release.store import list_releases, load_release, publish, version_of
from waypost.release.sweeping import NO_RELEASES
from waypost.settings import AwsAccess

CLOCK = two_days_later()
WHENS: tuple[When, ...] = ("before", "after")
FIRST, SECOND, THIRD = "000001-a", "000002-b", "000003-c"


@dataclass(frozen=True)
class Scenario:
    """What somebody does, from which state, and what is served when he has done it."""

    act: Callable[[ObjectStore], object]
    then: str | None  # None: as before
    is_night: bool = False  # which the next night makes good; others do theirs again
    damaged: bool = False  # the pointer cannot be read before
    start: Callable[[ObjectStore], object] = lambda store: None


def do_nothing_before_the_first_night(store: ObjectStore) -> None:
    store.delete([info.key for info in list(store.list(""))])


SCENARIOS = {
    "night": Scenario(lambda store: run_night(store, "c"), THIRD, is_night=True),
    "first night": Scenario(
        lambda store: run_night(store, "a"), FIRST, is_night=True, start=do_nothing_before_the_first_night
    ),
    "night while pinned": Scenario(
        lambda store: run_night(store, "c"),
        None,
        is_night=True,
        start=lambda store: pin(store, None, "why", "me", CLOCK),
    ),
    "rollback": Scenario(lambda store: roll_back(store, FIRST, "p99", "me", CLOCK), FIRST),
    "rollback over a damaged pointer": Scenario(
        lambda store: roll_back(store, FIRST, "mend", "me", CLOCK), FIRST, damaged=True, start=break_pointer
    ),
    "pin": Scenario(lambda store: pin(store, FIRST, "why", "me", CLOCK), FIRST),
    "unpin": Scenario(
        lambda store: unpin(store, "done", "me", CLOCK), None, start=lambda store: pin(store, None, "why", "me", CLOCK)
    ),
    "retreat": Scenario(lambda store: retreat(store, pointer_of(store), FIRST, "canary", "a pod", CLOCK), FIRST),
}


def prepare_store(store: ObjectStore, scenario: Scenario) -> None:
    """Two nights that were served, and what a third one left when it died long ago."""
    run_night(store, "a")
    run_night(store, "b")
    store.put_new("releases/000000-x-left/model.onnx", b"half")
    scenario.start(store)


def served(store: ObjectStore) -> str | None:
    """What a reader serves: verified, all files of that release and no other."""
    held = read_pointer(store)
    if held is None:
        return None
    manifest, files = load_release(store, held.pointer.release, TRUSTED, version=held.pointer.version)
    assert files == some_files(held.pointer.release)
    assert manifest.facts["release"] == held.pointer.release
    return held.pointer.release


def require_readable(store: ObjectStore, scenario: Scenario, before: str | None) -> None:
    if scenario.damaged:
        try:
            assert served(store) == scenario.then
        except CorruptObject:  # as it was before: refused, not believed
            assert read_lines(store, 1)[0].number == 2
    else:
        assert served(store) in (before, scenario.then)


def require_healed(store: ObjectStore, scenario: Scenario) -> None:
    """Who was killed does it again, then there is a night."""
    if not scenario.is_night:
        repeat(store, scenario)
    if read_pointer(store) is not None:
        unpin(store, "so that the night is served", "me", CLOCK)
    newest = run_night(store)
    assert served(store) == newest
    held, lines = pointer_of(store), read_lines(store, 100)
    assert [line.number for line in lines] == list(range(held.pointer.number, 0, -1))
    assert lines[0].to_release == newest
    for line, earlier in pairwise(lines):
        assert line.from_release == earlier.to_release
    versions = [version_of(manifest) for manifest in list_releases(store)]
    assert len(set(versions)) == len(versions)
    require_tidy(store)


def repeat(store: ObjectStore, scenario: Scenario) -> None:
    if scenario is SCENARIOS["retreat"] and pointer_of(store).pointer.how == "retreat":
        return  # a pod whose retreat took place has nothing to retreat from
    scenario.act(store)
    assert scenario.then in (None, served(store))


def require_tidy(store: ObjectStore) -> None:
    """Every folder of a release has its manifest."""
    keys = [info.key.split("/") for info in store.list("releases/") if info.key.count("/") == 2]
    folders = {name for _, name, _ in keys} - NO_RELEASES
    assert folders == {name for _, name, path in keys if path == MANIFEST}


def count_points(scenario: Scenario) -> int:
    store = MemoryObjectStore()
    prepare_store(store, scenario)
    counting = KillingStore(store)
    scenario.act(counting)
    return len(counting.calls)


def kill_everywhere(scenario: Scenario, make_store: Callable[[], ObjectStore]) -> int:
    """How many points there were."""
    points = 0
    for point in range(1, count_points(scenario) + 1):
        for when in WHENS:
            store = make_store()
            prepare_store(store, scenario)
            before = None if scenario.damaged else served(store)
            with pytest.raises(Killed):
                scenario.act(KillingStore(store, point, when))
            require_readable(store, scenario, before)
            require_healed(store, scenario)
            points += 1
    return points


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_call_the_old_or_the_new_release_is_served_and_the_next_run_heals(name: str) -> None:
    points = kill_everywhere(SCENARIOS[name], MemoryObjectStore)
    print(f"{name}: {points} points of being killed, each survived")
    assert points >= 8


def test_a_night_alone_has_more_than_twenty_points() -> None:
    everywhere = {name: 2 * count_points(scenario) for name, scenario in SCENARIOS.items()}
    print(f"points of being killed: {sum(everywhere.values())} {everywhere}")
    assert everywhere["night"] > 20


def emptied(store: ObjectStore) -> ObjectStore:
    store.delete([info.key for info in list(store.list(""))])
    return store


def point_too_early(store: ObjectStore) -> None:
    """What an exporter must not do."""
    clock = two_days_later()
    held = pointer_of(store)
    release = a_release_for(store, held, "c", clock)
    point_to(store, held, release.name, release.version, "a night", clock)
    publish(store, release.name, release.files, release.facts, KEY)


def test_an_exporter_that_pointed_before_it_published_would_be_found_out() -> None:
    """The control: these tests can fail."""
    with pytest.raises(NoRelease, match=f"there is no release {THIRD}"):
        kill_everywhere(Scenario(point_too_early, THIRD, is_night=True), MemoryObjectStore)


@pytest.mark.parametrize(
    "name", ["rollback", *(pytest.param(name, marks=pytest.mark.faults) for name in SCENARIOS if name != "rollback")]
)
def test_the_same_on_s3(name: str, aws_access: AwsAccess, bucket: str) -> None:
    store = S3ObjectStore(s3_client(aws_access), bucket)
    points = kill_everywhere(SCENARIOS[name], lambda: emptied(store))
    print(f"{name} on S3: {points} points of being killed, each survived")
    assert points >= 8


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.85, 1.0])
def test_an_exporter_process_that_ends_without_a_word_is_survived(
    share: float, aws_access: AwsAccess, bucket: str
) -> None:
    scenario, store = SCENARIOS["night"], S3ObjectStore(s3_client(aws_access), bucket)
    prepare_store(store, scenario)
    point = max(1, round(share * count_points(scenario)))
    words = {"access": asdict(aws_access), "bucket": bucket, "point": point, "name": "c"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.exporter.dying_exporter", json.dumps(words)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    require_readable(store, scenario, SECOND)
    require_healed(store, scenario)
