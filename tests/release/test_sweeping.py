"""What an exporter that died left behind goes after a day, and nothing else ever does."""

from __future__ import annotations

import time

import pytest

from tests.release.nights import TRUSTED, published, replace
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectInfo, ObjectStore
from waypost.release.pointer import POINTER_KEY, read_pointer
from waypost.release.store import load_release
from waypost.release.sweeping import ABANDONED_SECONDS, abandoned, sweep_abandoned, sweep_quietly
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
