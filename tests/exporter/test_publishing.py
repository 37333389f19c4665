"""The exporter's first and last step: two of them at once, one on a pinned pointer, one after another that died."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.exporter.nights import KEY, TRUSTED, a_release_for, pointer_of, run_night, some_files, two_days_later
from waypost.errors import CorruptObject, Superseded
from waypost.exporter.publishing import prepare, publish_and_point
from waypost.objects.protocols import ObjectStore
from waypost.release.audit import PREFIX, read_lines
from waypost.release.moves import pin, roll_back, unpin
from waypost.release.signing import NO_KEYS
from waypost.release.store import list_releases, load_release, version_of


def test_two_exporters_at_the_same_moment_one_is_served_and_the_other_superseded(object_store: ObjectStore) -> None:
    store, start = object_store, threading.Barrier(2)
    run_night(store, "before")

    def night(name: str) -> tuple[str, str]:
        clock = two_days_later()
        held = prepare(store, clock)
        start.wait(timeout=30)
        release = a_release_for(store, held, name, clock)
        start.wait(timeout=30)
        try:
            publish_and_point(store, held, release, KEY, name, clock)
        except Superseded as error:
            return str(error).split(":", maxsplit=1)[0], release.name
        return "served", release.name

    assert Superseded.exit_code == 0
    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(pool.map(night, ["one", "two"]))
    assert set(outcomes) == {"served", "superseded"}
    assert pointer_of(store).pointer.release == outcomes["served"]
    for name in outcomes.values():
        _, files = load_release(store, name, TRUSTED)
        assert files == some_files(name)
    assert [version_of(manifest) for manifest in list_releases(store)] == [1, 2, 3]
    assert [line.number for line in read_lines(store, 10)] == [2, 1]


def test_while_pinned_a_night_publishes_and_does_not_point(
    object_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    store, clock = object_store, two_days_later()
    served = run_night(store)
    pin(store, None, "the new one is being looked at", "ops@desk", clock)
    unserved = run_night(store)
    assert "pinned by ops@desk: published, not served" in caplog.text
    assert pointer_of(store).pointer.release == served
    load_release(store, unserved, TRUSTED)
    unpin(store, "looked at", "ops@desk", clock)
    assert pointer_of(store).pointer.release == served
    assert pointer_of(store).pointer.release != run_night(store)
    assert [version_of(manifest) for manifest in list_releases(store)] == [1, 2, 3]


def test_a_pin_set_during_a_night_counts(object_store: ObjectStore) -> None:
    store, clock = object_store, two_days_later()
    served = run_night(store)
    held = prepare(store, clock)
    pin(store, None, "stop", "ops@desk", clock)
    with pytest.raises(Superseded):
        publish_and_point(store, held, a_release_for(store, held, None, clock), KEY, "a night", clock)
    assert pointer_of(store).pointer.release == served


def test_a_rollback_is_served_until_the_next_night(object_store: ObjectStore) -> None:
    store = object_store
    first, _ = run_night(store), run_night(store)
    roll_back(store, None, "p99", "ops@desk", two_days_later())
    assert pointer_of(store).pointer.release == first
    third = run_night(store)
    assert (pointer_of(store).pointer.release, pointer_of(store).pointer.came_from) == (third, first)


def test_a_release_without_a_signature_is_published_with_a_warning(
    object_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    """On a laptop; in production the exporter does not start without a key."""
    store, clock = object_store, two_days_later()
    release = a_release_for(store, None, "unsigned", clock)
    publish_and_point(store, None, release, None, "a night", clock)
    assert "the release is not signed" in caplog.text
    load_release(store, release.name, NO_KEYS)
    with pytest.raises(CorruptObject, match="is not signed"):
        load_release(store, release.name, TRUSTED)


def test_an_exporter_that_starts_writes_the_line_that_another_owed(object_store: ObjectStore) -> None:
    store = object_store
    run_night(store)
    store.delete([f"{PREFIX}{1:09d}.json"])
    prepare(store, two_days_later())
    assert [line.number for line in read_lines(store, 10)] == [1]


def test_an_exporter_does_not_point_over_a_damaged_pointer(object_store: ObjectStore) -> None:
    store = object_store
    run_night(store)
    found = store.get("releases/current.json")
    assert found is not None
    store.put_if("releases/current.json", found.body.replace(b'"version": 1', b'"version": 4'), found.etag)
    with pytest.raises(CorruptObject, match="changed after it was written; name a good release"):
        run_night(store)
