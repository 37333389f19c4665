"""What an exporter that died left behind goes after a day, and nothing else ever does."""

from __future__ import annotations

import time

import pytest

from tests.release.nights import CLOCK, TRUSTED, published, replace
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectInfo, ObjectStore
from waypost.release.moves import roll_back
from waypost.release.pointer import POINTER_KEY, read_pointer
from waypost.release.store import list_releases, load_release
from waypost.release.sweeping import (
    ABANDONED_SECONDS,
    KEPT_SERVED,
    REFRESH_SECONDS,
    abandoned,
    sweep_abandoned,
    sweep_quietly,
    sweep_refreshes,
    sweep_refreshes_quietly,
)
from waypost.release.versions import next_version


def keys(store: ObjectStore) -> list[str]:
    return [info.key for info in store.list("")]


def test_an_abandoned_upload_goes_and_all_else_stays(object_store: ObjectStore) -> None:
    store = object_store
    published(store, "000001-a")
    before = keys(store)
    for path in ("model.onnx", "lookups.safetensors"):
        store.put_new(f"releases/000002-half/{path}", b"half")
    store.put_new("tensors/000003-x/model.onnx", b"not ours")
    assert sweep_abandoned(store, time.time()) == []
    assert sweep_abandoned(store, time.time() + ABANDONED_SECONDS + 60) == ["000002-half"]
    assert keys(store) == [*before, "tensors/000003-x/model.onnx"]
    assert read_pointer(store) is not None
    load_release(store, "000001-a", TRUSTED)


def listed(*ages: tuple[str, float]) -> list[ObjectInfo]:
    """Keys and their ages in hours, at hour 100."""
    return [ObjectInfo(key, 1, (100 - hours) * 3600) for key, hours in ages]


@pytest.mark.parametrize(
    ("ages", "swept"),
    [
        ([("releases/000002-b/model.onnx", 25), ("releases/000002-b/golden.json", 30)], ["000002-b"]),
        ([("releases/000002-b/model.onnx", 23), ("releases/000002-b/golden.json", 30)], []),  # somebody is still at it
        ([("releases/000002-b/model.onnx", 99), ("releases/000002-b/manifest.json", 99)], []),
        ([("releases/000002-b/model.onnx", 99), ("releases/000002-b/old/manifest.json", 99)], ["000002-b"]),
        ([("releases/backup-2026/model.onnx", 99), ("releases/2-b/model.onnx", 99)], []),  # somebody's own
        ([("releases/versions/000002", 99), ("releases/audit/000000001.json", 99)], []),
        ([("releases/current.json", 99), ("releases/note.txt", 99)], []),
        ([("releases/000002-b/", 99)], []),  # a folder made by a console
        ([("releases/000002-b/model.onnx", -5)], []),  # a clock ahead of ours
    ],
)
def test_only_an_exporters_folder_without_manifest_whose_newest_object_is_a_day_old_is_abandoned(
    ages: list[tuple[str, float]], swept: list[str]
) -> None:
    assert list(abandoned(listed(*ages), now=100 * 3600)) == swept


class StoreWhoseExporterWakesUp(MemoryObjectStore):
    """The exporter of the half upload writes its manifest right after the sweeper's listing."""

    def list(self, prefix: str) -> list[ObjectInfo]:
        found = list(super().list(prefix))
        self.put_new("releases/000002-half/manifest.json", b"{}")
        return found


def test_an_upload_that_was_finished_meanwhile_stays() -> None:
    store = StoreWhoseExporterWakesUp()
    store.put_new("releases/000002-half/model.onnx", b"half")
    assert sweep_abandoned(store, time.time() + 2 * ABANDONED_SECONDS) == []
    assert store.get("releases/000002-half/model.onnx") is not None


def test_what_was_ever_served_stays_though_its_manifest_is_lost(object_store: ObjectStore) -> None:
    store = object_store
    for name in ("000001-a", "000002-b"):
        published(store, name)
        store.delete([f"releases/{name}/manifest.json"])
    before = keys(store)
    assert sweep_abandoned(store, time.time() + 2 * ABANDONED_SECONDS) == []
    assert keys(store) == before


def test_nothing_is_swept_while_the_pointer_is_damaged() -> None:
    store = MemoryObjectStore()
    published(store, "000001-a")
    store.put_new("releases/000002-half/model.onnx", b"half")
    replace(store, POINTER_KEY, b"{")
    sweep_quietly(store, time.time() + 2 * ABANDONED_SECONDS)
    assert store.get("releases/000002-half/model.onnx") is not None


def test_the_number_of_a_swept_upload_is_not_given_again(object_store: ObjectStore) -> None:
    store = object_store
    published(store, "000001-a")
    store.put_new("releases/versions/000002", b"claimed")
    store.put_new("releases/000002-half/model.onnx", b"half")
    sweep_abandoned(store, time.time() + 2 * ABANDONED_SECONDS)
    assert next_version(store, read_pointer(store)) == 3


MARK = "refreshed_from"
LATER = REFRESH_SECONDS + 60


def a_day_of(store: ObjectStore, refreshes: int) -> list[str]:
    """A night, then refreshes; their names."""
    published(store, "000001-night")
    names = [f"{number:06d}-refresh" for number in range(2, refreshes + 2)]
    for name in names:
        published(store, name, facts={MARK: "checkpoints/night"})
    return names


def releases(store: ObjectStore) -> list[str]:
    return [str(manifest.facts["release"]) for manifest in list_releases(store)]


def test_refreshes_go_after_two_days_and_the_last_that_were_served_stay(object_store: ObjectStore) -> None:
    store, old = object_store, 3
    names = a_day_of(store, old + KEPT_SERVED)
    assert sweep_refreshes(store, MARK, time.time()) == []
    assert sweep_refreshes(store, MARK, time.time() + LATER) == names[:old]
    assert releases(store) == ["000001-night", *names[old:]]
    assert not [key for key in keys(store) if any(f"/{name}/" in key for name in names[:old])]
    load_release(store, names[-1], TRUSTED)


def test_a_night_is_never_swept_however_old(object_store: ObjectStore) -> None:
    a_day_of(object_store, KEPT_SERVED + 1)
    sweep_refreshes(object_store, MARK, time.time() + 1_000 * REFRESH_SECONDS)
    assert "000001-night" in releases(object_store)


class StoreWhoseOperatorGoesBack(MemoryObjectStore):
    """To the oldest refresh, right after the sweeper's listing."""

    armed = False

    def list(self, prefix: str) -> list[ObjectInfo]:
        found = list(super().list(prefix))
        if self.armed:
            self.armed = False
            roll_back(self, "000002-refresh", "it was good", "olga", CLOCK, trusted=TRUSTED)
        return found


def test_a_refresh_that_somebody_has_just_gone_back_to_stays() -> None:
    store = StoreWhoseOperatorGoesBack()
    names = a_day_of(store, KEPT_SERVED + 3)
    store.armed = True
    assert names[0] not in sweep_refreshes(store, MARK, time.time() + LATER)
    load_release(store, names[0], TRUSTED)


def test_no_refresh_is_swept_while_the_pointer_is_damaged() -> None:
    store = MemoryObjectStore()
    names = a_day_of(store, KEPT_SERVED + 3)
    replace(store, POINTER_KEY, b"{")
    sweep_refreshes_quietly(store, MARK, time.time() + LATER)
    assert releases(store) == ["000001-night", *names]


def test_a_rollback_after_a_sweep_goes_to_what_is_still_there(object_store: ObjectStore) -> None:
    a_day_of(object_store, KEPT_SERVED + 3)
    sweep_refreshes(object_store, MARK, time.time() + LATER)
    assert (
        roll_back(object_store, None, "slow", "olga", CLOCK, trusted=TRUSTED).release
        == f"{KEPT_SERVED + 3:06d}-refresh"
    )
