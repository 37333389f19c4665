"""What stays in the cache and what goes: for any nights, bases, deltas and ages, and after any crash."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import StoreUnavailable
from waypost.graph.mapping import DEFAULT
from waypost.graph.retention import (
    DAY_SECONDS,
    GRACE_SECONDS,
    KEPT_CHECKPOINTS,
    KEPT_REPORTS,
    Inventory,
    expired,
    keep_tidy,
    orphans,
    plan,
    read_held,
    read_inventory,
    read_plan,
    remove_expired,
    without,
)
from waypost.graph.store import Night, ObjectEntry, manifest_key
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectInfo, ObjectStore
from waypost.settings import CacheSettings
from waypost.trainer.contract import HISTORY_NIGHTS

NOW = 2_000_000_000.0
KEEP = CacheSettings(keep_nights=2, keep_days=5)


@dataclass
class Cache:
    """An inventory in the making; ages in days."""

    objects: list[ObjectInfo]
    nights: dict[str, Night | None]

    def add(self, key: str, age: float, size: int = 10) -> None:
        self.objects.append(ObjectInfo(key, size, NOW - age * DAY_SECONDS))

    def night(self, name: str, age: float, inherits: str | None = None) -> None:
        """A base, or a delta on another night's."""
        inherited = self.nights[inherits] if inherits else None
        kept = [entry for entry in inherited.objects if entry.part != "digests"] if inherited else []
        parts = ("delta", "digests") if inherited else ("edges", "nodes", "texts", "digests")
        own = [ObjectEntry(f"tensors/{name}/{part}-0.safetensors", 10, "", part) for part in parts]
        self.nights[name] = Night(name, DEFAULT, 18, NOW - age * DAY_SECONDS, {}, (*kept, *own))
        for entry in own:
            self.add(entry.key, age)
        self.add(manifest_key(name), age)

    def found(self, held: Iterable[str] = (), reports: Iterable[str] = ()) -> Inventory:
        return Inventory(tuple(self.objects), self.nights, frozenset(held), frozenset(reports))


def a_cache() -> Cache:
    return Cache([], {})


def a_chain(*ages: float) -> Cache:
    """n0 a base, n1 its first delta, and so on."""
    cache = a_cache()
    for number, age in enumerate(ages):
        cache.night(f"n{number}", age, f"n{number - 1}" if number else None)
    return cache


def keys(removals: Iterable[object]) -> set[str]:
    return {removal.key for removal in removals}  # type: ignore[attr-defined]


def named_by(nights: Iterable[Night | None]) -> set[str]:
    return {entry.key for night in nights if night for entry in night.objects}


@st.composite
def caches(draw: st.DrawFn) -> Inventory:
    cache = a_cache()
    ages = sorted(draw(st.lists(st.floats(0, 40), min_size=1, max_size=12)), reverse=True)
    for number, age in enumerate(ages):
        earlier = draw(st.sampled_from([None, *cache.nights])) if number else None
        cache.night(f"n{number}", age, earlier)
        if draw(st.booleans()):
            cache.add(f"tensors/n{number}/tokens/tokens.safetensors", age)
            cache.add(f"tensors/n{number}/tokens/manifest.json", age)
        if draw(st.booleans()):
            cache.add(f"tensors/n{number}/contract-20260101T000000000000Z.json", draw(st.floats(0, age)))
    for number in range(draw(st.integers(0, 3))):
        cache.add(f"tensors/{draw(st.sampled_from(['left', 'n0']))}/stray-{number}.safetensors", draw(st.floats(0, 40)))
    for name in draw(st.sets(st.sampled_from(list(cache.nights)), max_size=2)):
        cache.nights[name] = draw(st.sampled_from([None, cache.nights[name]]))
    held = draw(st.sets(st.sampled_from(list(cache.nights)), max_size=2))
    reports = draw(st.sets(st.sampled_from([info.key for info in cache.objects if "contract-" in info.key] or ["x"])))
    return cache.found(held, reports)


SETTINGS = st.builds(CacheSettings, keep_nights=st.integers(1, 8), keep_days=st.floats(0, 20))


class TestWhateverTheNights:
    @given(caches(), SETTINGS)
    @settings(max_examples=300, deadline=None)
    def test_nothing_that_a_kept_night_names_goes(self, found: Inventory, keep: CacheSettings) -> None:
        going = keys(plan(found, keep, NOW))
        kept = [night for name, night in found.nights.items() if manifest_key(name) not in going]
        assert not going & named_by(kept)
        assert not going & found.reports

    @given(caches(), SETTINGS)
    @settings(max_examples=300, deadline=None)
    def test_after_a_crash_at_any_point_every_manifest_left_is_whole(
        self, found: Inventory, keep: CacheSettings
    ) -> None:
        order = plan(found, keep, NOW)
        for done in range(len(order) + 1):
            left = without(found, order[:done])
            there = {info.key for info in left.objects}
            before = {info.key for info in found.objects}
            assert named_by(left.nights.values()) & before <= there
            tokens = {key for key in there if key.endswith("tokens/manifest.json")}
            assert {key.replace("manifest.json", "tokens.safetensors") for key in tokens} <= there

    @given(caches(), SETTINGS)
    @settings(max_examples=300, deadline=None)
    def test_the_newest_night_stays_with_all_that_it_is_made_of(self, found: Inventory, keep: CacheSettings) -> None:
        readable = {name for name, night in found.nights.items() if night}
        if not readable:
            return
        used = dict.fromkeys(readable, 0.0)
        for info in found.objects:
            name, inside = info.key.split("/")[1:3]
            if name in used and not inside.endswith(".safetensors"):
                used[name] = max(used[name], info.modified_at)
        newest = max(sorted(readable), key=lambda name: used[name])
        assert not keys(plan(found, keep, NOW)) & (named_by([found.nights[newest]]) | {manifest_key(newest)})

    @given(caches(), SETTINGS)
    @settings(max_examples=300, deadline=None)
    def test_nothing_younger_than_a_day_goes_whatever_it_is(self, found: Inventory, keep: CacheSettings) -> None:
        going = keys(plan(found, keep, NOW))
        assert all(NOW - info.modified_at > GRACE_SECONDS for info in found.objects if info.key in going)

    @given(caches(), SETTINGS)
    @settings(max_examples=300, deadline=None)
    def test_the_folder_of_a_checkpoint_is_not_touched(self, found: Inventory, keep: CacheSettings) -> None:
        going = keys(plan(found, keep, NOW))
        assert not {key for key in going if key.split("/")[1] in found.held}
        assert not going & named_by(found.nights[name] for name in found.held)

    @given(caches(), SETTINGS)
    @settings(max_examples=300, deadline=None)
    def test_what_a_run_leaves_the_next_run_leaves_too(self, found: Inventory, keep: CacheSettings) -> None:
        left = without(found, plan(found, keep, NOW))
        assert plan(left, keep, NOW) == []

    @given(caches(), SETTINGS, st.data())
    @settings(max_examples=200, deadline=None)
    def test_after_a_crash_the_next_run_ends_where_the_first_would_have(
        self, found: Inventory, keep: CacheSettings, data: st.DataObject
    ) -> None:
        order = plan(found, keep, NOW)
        crashed = without(found, order[: data.draw(st.integers(0, len(order)))])
        again = plan(crashed, keep, NOW)
        assert {i.key for i in without(crashed, again).objects} == {i.key for i in without(found, order).objects}


class TestWhatStays:
    def test_the_newest_by_count_however_old_and_the_young_however_many(self) -> None:
        old = a_chain(60, 50, 40, 30)
        assert keys(expired(old.found(), KEEP, NOW)) == {manifest_key("n0"), manifest_key("n1")}
        young = a_chain(4.9, 4.5, 4, 3, 2, 1)
        assert expired(young.found(), KEEP, NOW) == []

    def test_a_base_outlives_its_night_while_a_delta_on_it_is_kept(self) -> None:
        going = keys(plan(a_chain(60, 50, 40, 30).found(), KEEP, NOW))
        assert going == {
            "tensors/n0/manifest.json",
            "tensors/n0/digests-0.safetensors",
            "tensors/n1/manifest.json",
            "tensors/n1/digests-0.safetensors",
        }

    def test_a_base_goes_with_the_last_delta_on_it(self) -> None:
        cache = a_chain(60, 50)
        cache.night("m0", 8)
        cache.night("m1", 7, "m0")
        going = keys(plan(cache.found(), KEEP, NOW))
        assert going == {info.key for info in cache.objects if info.key.startswith("tensors/n")}

    def test_a_night_that_is_used_again_is_young_again(self) -> None:
        cache = a_chain(60)
        cache.night("m0", 30)
        cache.night("m1", 20)
        assert manifest_key("n0") in keys(expired(cache.found(), KEEP, NOW))
        cache.add("tensors/n0/contract-20260101T000000000000Z.json", 0.1)
        assert keys(expired(cache.found(), KEEP, NOW)) == {manifest_key("m0")}

    def test_with_no_days_to_keep_the_day_of_grace_holds(self) -> None:
        keep = CacheSettings(keep_nights=1, keep_days=0)
        assert keys(expired(a_chain(2, 0.9, 0.8, 0.5).found(), keep, NOW)) == {manifest_key("n0")}

    def test_the_nights_of_the_newest_checkpoints_stay_with_their_tokens_and_bases(self) -> None:
        cache = a_chain(60, 50, 40, 30)
        cache.night("m0", 9)
        cache.night("m1", 8)
        cache.add("tensors/n1/tokens/tokens.safetensors", 50)
        left = {info.key for info in without(cache.found(), plan(cache.found({"n1"}), KEEP, NOW)).objects}
        assert "tensors/n1/tokens/tokens.safetensors" in left
        assert named_by([cache.nights["n1"]]) <= left
        assert "tensors/n2/delta-0.safetensors" not in left

    def test_baselines_go_with_their_graph_manifests_first_and_stay_with_one_that_is_kept_held_or_new(self) -> None:
        cache = a_chain(60, 50, 40, 30)
        cache.night("m0", 9)
        cache.night("m1", 8)
        for name, age in (("n0", 60), ("n1", 50), ("n2", 40), ("m1", 8), ("gone", 0.9), ("dead", 1.1)):
            cache.add(f"baselines/{name}-0123/lists.safetensors", age)
            cache.add(f"baselines/{name}-0123/manifest.json", age)
        going = [removal.key for removal in plan(cache.found({"n1"}), KEEP, NOW) if removal.key[0] == "b"]
        assert going == [
            "baselines/dead-0123/manifest.json",
            "baselines/n0-0123/manifest.json",
            "baselines/n2-0123/manifest.json",
            "baselines/dead-0123/lists.safetensors",
            "baselines/n0-0123/lists.safetensors",
            "baselines/n2-0123/lists.safetensors",
        ]

    def test_accepted_reports_outlive_their_nights_and_others_do_not(self) -> None:
        cache = a_chain(60)
        cache.night("m0", 9)
        cache.night("m1", 8)
        accepted, refused = (f"tensors/n0/contract-2026010{day}T000000000000Z.json" for day in (1, 2))
        cache.add(accepted, 60)
        cache.add(refused, 60)
        going = keys(plan(cache.found(reports=[accepted]), KEEP, NOW))
        assert refused in going
        assert accepted not in going

    def test_objects_of_a_night_under_way_are_left_alone_and_those_of_a_dead_one_go(self) -> None:
        cache = a_chain(1)
        cache.add("tensors/dead/edges-0.safetensors", 1.1)
        cache.add("tensors/dead/tokens/tokens.safetensors", 1.1)
        cache.add("tensors/alive/edges-0.safetensors", 0.9)
        assert keys(plan(cache.found(), KEEP, NOW)) == {
            "tensors/dead/edges-0.safetensors",
            "tensors/dead/tokens/tokens.safetensors",
        }

    def test_a_manifest_that_cannot_be_read_goes_once_nothing_young_is_beside_it(self) -> None:
        cache = a_chain(3, 2)
        for name, age in (("foreign", 0.5), ("dead", 3.0)):
            cache.nights[name] = None
            cache.add(manifest_key(name), 3)
            cache.add(f"tensors/{name}/graph.safetensors", 3)
            cache.add(f"tensors/{name}/tokenizer.json", age)
        assert keys(plan(cache.found(), KEEP, NOW)) == {
            "tensors/dead/manifest.json",
            "tensors/dead/graph.safetensors",
            "tensors/dead/tokenizer.json",
        }

    def test_an_unreadable_manifest_is_not_counted_among_the_nights_to_keep(self) -> None:
        cache = a_chain(60, 50)
        cache.nights["broken"] = None
        cache.add(manifest_key("broken"), 0.5)
        assert plan(cache.found(), KEEP, NOW) == []

    def test_what_lies_in_no_nights_folder_is_not_ours(self) -> None:
        cache = a_chain(60)
        cache.add("tensors/README", 60)
        cache.add("baselines/README", 60)
        assert plan(cache.found(), KEEP, NOW) == []

    def test_each_removal_says_why(self) -> None:
        cache = a_chain(60, 50, 40)
        cache.nights["foreign"] = None
        cache.add(manifest_key("foreign"), 3)
        why = {removal.key: removal.why for removal in plan(cache.found(), KEEP, NOW)}
        assert why["tensors/n0/manifest.json"] == "last used 60 days ago, older than 5 and not among the newest 2"
        assert why["tensors/foreign/manifest.json"] == "no manifest of this version of Waypost"
        assert why["tensors/n0/digests-0.safetensors"] == "no night names it"


class TestBesideANight:
    def test_a_manifest_written_between_the_two_looks_saves_what_it_names(self) -> None:
        cache = a_chain(60, 50, 40)
        going = expired(cache.found(), KEEP, NOW)
        assert keys(going) == {manifest_key("n0")}
        cache.night("tonight", 0, "n0")
        assert keys(orphans(without(cache.found(), going), NOW)) == {"tensors/n0/digests-0.safetensors"}

    def test_a_manifest_that_could_not_be_deleted_keeps_its_objects(self) -> None:
        cache = a_chain(60)
        cache.night("m0", 9)
        cache.night("m1", 8)
        assert keys(expired(cache.found(), KEEP, NOW)) == {manifest_key("n0")}
        assert orphans(cache.found(), NOW) == []


def put(store: ObjectStore, key: str, content: object) -> None:
    assert store.put_new(key, content if isinstance(content, bytes) else json.dumps(content).encode())


def a_checkpoint(store: ObjectStore, name: str, metadata: object) -> None:
    put(store, f"checkpoints/{name}/metadata.json", metadata)
    put(store, f"checkpoints/{name}/manifest.json", {})


class TestWhatTheBucketSays:
    def test_the_newest_whole_checkpoints_hold_their_fingerprints(self, object_store: ObjectStore) -> None:
        for day in range(1, KEPT_CHECKPOINTS + 3):
            a_checkpoint(object_store, f"2026010{day}T000000-x", {"fingerprint": f"f{day}"})
        put(object_store, "checkpoints/20260109T000000-x/metadata.json", {"fingerprint": "half written"})
        a_checkpoint(object_store, "20260108T000000-x", b"cut {")
        assert read_held(object_store) == {"f3", "f4", "f5"}

    def test_a_mornings_refreshes_do_not_push_the_nights_out(self, object_store: ObjectStore) -> None:
        a_checkpoint(object_store, "20260101T000000-x", {"fingerprint": "night"})
        for minute in range(KEPT_CHECKPOINTS + 2):
            a_checkpoint(object_store, f"20260102T000{minute}00-x-refresh", {"fingerprint": f"r{minute}"})
        assert read_held(object_store) == {"night", "r2", "r3", "r4"}

    def test_history_is_the_newest_accepted_reports(self) -> None:
        store = MemoryObjectStore()
        for day in range(10, 30):
            put(store, f"tensors/f{day % 3}/contract-202601{day}T000000000000Z.json", {"accepted": day % 2 == 0})
        put(store, "tensors/f0/contract-20260131T000000000000Z.json", b"cut {")
        kept = {key.split("-")[1][:8] for key in read_inventory(store).reports}
        assert kept == {f"202601{day}" for day in range(16, 30, 2)}

    def test_history_is_as_long_as_the_data_contract_looks_back(self) -> None:
        assert KEPT_REPORTS >= HISTORY_NIGHTS

    def test_a_bundle_of_baselines_is_seen_and_is_no_night(self, object_store: ObjectStore) -> None:
        put(object_store, "baselines/f-0123/manifest.json", {})
        found = read_inventory(object_store)
        assert [info.key for info in found.objects] == ["baselines/f-0123/manifest.json"]
        assert not found.nights

    def test_manifests_are_read_and_unreadable_ones_are_known_as_such(self, object_store: ObjectStore) -> None:
        night = Night("good", DEFAULT, 18, NOW, {}, ())
        put(object_store, manifest_key("good"), night.to_bytes())
        put(object_store, manifest_key("moved"), night.to_bytes())
        put(object_store, manifest_key("old"), {"format": 1})
        put(object_store, "tensors/good/tokens/manifest.json", {})
        assert read_inventory(object_store).nights == {"good": night, "moved": None, "old": None}

    def test_a_dry_run_says_the_same_and_touches_nothing(self, object_store: ObjectStore) -> None:
        put(object_store, manifest_key("old"), {"format": 1})
        put(object_store, "tensors/old/graph.safetensors", b"graph")
        now = max(info.modified_at for info in object_store.list("tensors/")) + GRACE_SECONDS + 1
        planned = read_plan(object_store, KEEP, now)
        assert [info.key for info in object_store.list("")] == ["tensors/old/graph.safetensors", manifest_key("old")]
        assert remove_expired(object_store, KEEP, now) == planned
        assert keys(planned) == {"tensors/old/graph.safetensors", manifest_key("old")}
        assert list(object_store.list("")) == []

    def test_a_failure_is_logged_and_ends_no_night(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(MemoryObjectStore):
            def list(self, prefix: str) -> Iterable[ObjectInfo]:
                raise StoreUnavailable("S3 is gone")

        with caplog.at_level(logging.INFO):
            keep_tidy(Broken(), KEEP, NOW)
        (line,) = caplog.records
        assert line.message == "cache not tidied"
        assert line.__dict__["cause"] == "S3 is gone"

    def test_what_went_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        store = MemoryObjectStore()
        put(store, manifest_key("old"), {"format": 1})
        put(store, "tensors/old/tokens/manifest.json", b"12345")
        with caplog.at_level(logging.INFO):
            keep_tidy(store, KEEP, next(iter(store.list(""))).modified_at + 2 * DAY_SECONDS)
        (line,) = caplog.records
        assert (line.message, line.__dict__["nights"], line.__dict__["objects"]) == ("cache tidied", 1, 1)
