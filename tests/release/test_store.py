from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from waypost.clock import ManualClock
from waypost.errors import CorruptObject, NoRelease, Superseded
from waypost.objects.protocols import ObjectStore
from waypost.release.store import (
    Pointer,
    list_releases,
    load_release,
    move_pointer,
    next_version,
    parse_pointer,
    publish,
    read_pointer,
    roll_back,
)

CLOCK = ManualClock()


@pytest.fixture
def store(object_store: ObjectStore) -> ObjectStore:
    return object_store


def published(store: ObjectStore, name: str) -> Pointer:
    held = read_pointer(store)
    version = next_version(store, held)
    publish(store, name, {"model.onnx": name.encode()}, {"version": version})
    return move_pointer(store, held, name, version, "test", CLOCK)


def test_before_the_first_release_there_is_no_pointer(store: ObjectStore) -> None:
    assert read_pointer(store) is None
    with pytest.raises(NoRelease, match="run `waypost night`"):
        roll_back(store, None, "why", CLOCK)


def test_versions_and_moves_count_up(store: ObjectStore) -> None:
    moved = [published(store, name) for name in ("a", "b", "c")]
    assert [(p.version, p.number) for p in moved] == [(1, 1), (2, 2), (3, 3)]
    assert [m.facts["release"] for m in list_releases(store)] == ["a", "b", "c"]


def test_of_two_exporters_exactly_one_moves_the_pointer(store: ObjectStore) -> None:
    published(store, "a")
    held = read_pointer(store)

    def move(name: str) -> str:
        try:
            move_pointer(store, held, name, next_version(store, held), "race", CLOCK)
        except Superseded:
            return "superseded"
        return name

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(move, "uvwxyz"))
    current = read_pointer(store)
    assert current is not None
    assert sorted(outcomes) == sorted([current.pointer.release, *["superseded"] * 5])


def test_rolling_back_serves_the_release_before_and_never_reuses_a_version(store: ObjectStore) -> None:
    for name in ("a", "b", "c"):
        published(store, name)
    assert roll_back(store, None, "p99", CLOCK).release == "b"
    assert roll_back(store, "1", "p99", CLOCK).release == "a"
    assert published(store, "d").version == 4
    assert roll_back(store, None, "p99", CLOCK).release == "c"
    with pytest.raises(NoRelease, match="no release nothing"):
        roll_back(store, "nothing", "p99", CLOCK)


def test_a_release_that_lost_the_race_is_never_rolled_back_to_and_its_number_never_given_again(
    store: ObjectStore,
) -> None:
    published(store, "000001-a")
    publish(store, "000002-lost", {}, {"version": 2})
    assert published(store, "000003-c").version == 3
    assert roll_back(store, None, "p99", CLOCK).release == "000001-a"


def test_a_half_published_release_is_not_there(store: ObjectStore) -> None:
    publish(store, "whole", {"model.onnx": b"1"}, {"version": 1})
    store.put_new("releases/half/model.onnx", b"1")
    assert [m.facts["release"] for m in list_releases(store)] == ["whole"]
    with pytest.raises(NoRelease):
        load_release(store, "half")


def test_a_truncated_file_makes_the_release_corrupt(store: ObjectStore) -> None:
    publish(store, "a", {"model.onnx": b"0123456789"}, {"version": 1})
    found = store.get("releases/a/model.onnx")
    assert found is not None
    store.put_if("releases/a/model.onnx", found.body[:5], found.etag)
    with pytest.raises(CorruptObject, match=r"model.onnx has 5 bytes, its manifest says 10"):
        load_release(store, "a")


def test_a_manifest_of_another_release_is_corrupt(store: ObjectStore) -> None:
    publish(store, "a", {}, {"version": 1})
    stolen = store.get("releases/a/manifest.json")
    assert stolen is not None
    store.put_new("releases/b/manifest.json", stolen.body)
    with pytest.raises(CorruptObject, match="is of release a"):
        load_release(store, "b")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"release": "a", "version": "x"}', b"\xff\xfe"])
def test_what_is_no_pointer_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptObject, match="not a pointer"):
        parse_pointer(body)


def test_a_damaged_manifest_hides_no_other_release_and_no_rollback(store: ObjectStore) -> None:
    for name in ("a", "b", "c"):
        published(store, name)
    damaged = store.get("releases/a/manifest.json")
    assert damaged is not None
    store.put_if("releases/a/manifest.json", b"{broken", damaged.etag)
    assert [m.facts["release"] for m in list_releases(store)] == ["b", "c"]
    assert roll_back(store, None, "p99", CLOCK).release == "b"


def test_of_two_releases_with_one_number_the_served_one_is_meant(store: ObjectStore) -> None:
    published(store, "a")
    publish(store, "lost", {}, {"version": 1})
    published(store, "b")
    assert roll_back(store, "1", "p99", CLOCK).release == "a"
