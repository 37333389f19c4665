from __future__ import annotations

import pytest

from tests.release.nights import KEY, TRUSTED, published, replace
from waypost.errors import CorruptObject, NoRelease
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore, StoredObject
from waypost.release.signing import NO_KEYS
from waypost.release.store import list_releases, load_release, publish


@pytest.fixture
def store(object_store: ObjectStore) -> ObjectStore:
    return object_store


def test_a_published_release_is_loaded_whole(store: ObjectStore) -> None:
    published(store, "a")
    manifest, files = load_release(store, "a", TRUSTED)
    assert files == {"model.onnx": b"a", "golden.json": b"{}"}
    assert manifest.facts["version"] == 1
    assert load_release(store, "a", TRUSTED, wanted=lambda path: path == "golden.json")[1] == {"golden.json": b"{}"}


def test_a_half_published_release_is_not_there(store: ObjectStore) -> None:
    publish(store, "whole", {"model.onnx": b"1"}, {"version": 1})
    store.put_new("releases/half/model.onnx", b"1")
    assert [m.facts["release"] for m in list_releases(store)] == ["whole"]
    with pytest.raises(NoRelease):
        load_release(store, "half", NO_KEYS)


def test_a_truncated_file_makes_the_release_corrupt(store: ObjectStore) -> None:
    publish(store, "a", {"model.onnx": b"0123456789"}, {"version": 1})
    replace(store, "releases/a/model.onnx", b"01234")
    with pytest.raises(CorruptObject, match=r"model.onnx has 5 bytes, its manifest says 10"):
        load_release(store, "a", NO_KEYS)


def test_a_manifest_of_another_release_is_corrupt(store: ObjectStore) -> None:
    publish(store, "a", {}, {"version": 1})
    stolen = store.get("releases/a/manifest.json")
    assert stolen is not None
    store.put_new("releases/b/manifest.json", stolen.body)
    with pytest.raises(CorruptObject, match="is of release a"):
        load_release(store, "b", NO_KEYS)


def test_a_release_of_another_version_than_the_pointer_says_is_refused(store: ObjectStore) -> None:
    published(store, "a")
    load_release(store, "a", TRUSTED, version=1)
    with pytest.raises(CorruptObject, match="the pointer says version 2, release a is version 1"):
        load_release(store, "a", TRUSTED, version=2)


class StoreThatCountsReads(MemoryObjectStore):
    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def get(self, key: str) -> StoredObject | None:
        self.read.append(key)
        return super().get(key)


def test_nothing_but_the_manifest_is_fetched_of_a_release_that_nobody_trusted_signed() -> None:
    store = StoreThatCountsReads()
    publish(store, "a", {"model.onnx": b"1"}, {"version": 1})
    store.read.clear()
    with pytest.raises(CorruptObject, match="not signed"):
        load_release(store, "a", TRUSTED)
    assert store.read == ["releases/a/manifest.json"]


def test_a_whole_release_put_together_by_somebody_without_the_key_is_refused(store: ObjectStore) -> None:
    """Digests alone would let it pass: the forger writes them too."""
    published(store, "a")
    genuine = store.get("releases/a/manifest.json")
    publish(store, "forged", {"model.onnx": b"evil"}, {"version": 2})
    load_release(store, "forged", NO_KEYS)
    with pytest.raises(CorruptObject, match="not signed"):
        load_release(store, "forged", TRUSTED)
    assert genuine is not None
    replace(store, "releases/a/manifest.json", genuine.body.replace(b'"version": 1', b'"version": 3'))
    load_release(store, "a", NO_KEYS)
    with pytest.raises(CorruptObject, match="differs from what was signed"):
        load_release(store, "a", TRUSTED)


class StoreThatLoses(MemoryObjectStore):
    """Says yes and keeps nothing of one file."""

    def put_new(self, key: str, body: bytes) -> bool:
        return key.endswith("model.onnx") or super().put_new(key, body)


def test_a_release_that_is_not_there_as_written_is_not_published() -> None:
    with pytest.raises(CorruptObject, match=r"releases/a lacks model.onnx, whole"):
        publish(StoreThatLoses(), "a", {"model.onnx": b"1", "golden.json": b"{}"}, {"version": 1}, KEY)


def test_a_damaged_manifest_hides_no_other_release(store: ObjectStore) -> None:
    for name in ("a", "b", "c"):
        published(store, name)
    replace(store, "releases/a/manifest.json", b"{broken")
    assert [m.facts["release"] for m in list_releases(store)] == ["b", "c"]


def test_a_manifest_further_down_or_of_no_plain_name_is_no_release(store: ObjectStore) -> None:
    published(store, "a")
    found = store.get("releases/a/manifest.json")
    assert found is not None
    for stray in ("a/x/manifest.json", "manifest.json", "/manifest.json", "a b/manifest.json", "x/y/manifest.json"):
        store.put_new(f"releases/{stray}", found.body)
    assert [m.facts["release"] for m in list_releases(store)] == ["a"]
