"""The gateway's own list is of a release that a trusted key signed, or stays what it was; and there is always one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as changed
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.clock import ManualClock
from waypost.errors import StoreUnavailable
from waypost.gateway.follower import PopularFollower
from waypost.metrics import GatewayMetrics
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectInfo, ObjectStore, StoredObject
from waypost.release.moves import point_to
from waypost.release.pointer import POINTER_KEY, read_pointer
from waypost.release.signing import NO_KEYS, SigningKey, TrustedKeys
from waypost.release.store import publish

KEY, FOREIGN = SigningKey(Ed25519PrivateKey.generate()), SigningKey(Ed25519PrivateKey.generate())
TRUSTED = TrustedKeys([KEY.public])


def published(store: MemoryObjectStore, version: int, key: SigningKey | None, says: int | None = None) -> None:
    """And pointed to; its list says version `says`."""
    popular = orjson.dumps({"version": says or version, "posts": [version], "scores": [1.0], "tags": {}})
    publish(store, f"release-{version}", {"popular.json": popular}, {"version": version}, key)
    point_to(store, read_pointer(store), f"release-{version}", version, "a test", ManualClock())


@pytest.fixture
def store() -> MemoryObjectStore:
    found = MemoryObjectStore()
    published(found, 1, KEY)
    return found


def a_follower(store: ObjectStore, trusted: TrustedKeys = TRUSTED, kept: Path | None = None) -> PopularFollower:
    """As it is after its first look."""
    follower = PopularFollower(store, trusted, GatewayMetrics(), kept)
    follower.remember()
    follower.look()
    return follower


def held(follower: PopularFollower) -> int | None:
    return follower.popular.version if follower.popular else None


def test_the_list_of_a_signed_release_is_held(store: MemoryObjectStore) -> None:
    follower = a_follower(store)
    assert held(follower) == 1
    published(store, 2, KEY)
    follower.look()
    assert held(follower) == 2


@pytest.mark.parametrize("key", [None, FOREIGN])
def test_of_a_release_that_nobody_trusted_signed_nothing_is_taken(
    store: MemoryObjectStore, key: SigningKey | None, caplog: pytest.LogCaptureFixture
) -> None:
    follower = a_follower(store)
    published(store, 2, key)
    follower.look()
    assert held(follower) == 1
    assert "the release pointer was not followed" in caplog.text
    assert held(a_follower(store)) == 1  # one that starts now finds the newest that is trusted
    assert held(a_follower(store, NO_KEYS)) == 2


def test_a_list_of_another_version_than_pointed_to_is_not_taken(store: MemoryObjectStore) -> None:
    follower = a_follower(store)
    published(store, 2, KEY, says=3)
    follower.look()
    assert held(follower) == 1


def test_a_pointer_that_says_another_version_than_the_release_is_not_followed(store: MemoryObjectStore) -> None:
    follower = a_follower(store)
    present = read_pointer(store)
    assert present is not None
    store.put_if(POINTER_KEY, changed(present.pointer, version=7).to_bytes(), present.etag)
    follower.look()
    assert held(follower) == 1


def test_a_pointer_to_a_release_that_is_gone_changes_nothing(store: MemoryObjectStore) -> None:
    follower = a_follower(store)
    point_to(store, read_pointer(store), "release-9", 9, "a test", ManualClock())
    follower.look()
    assert held(follower) == 1


class NoStore(MemoryObjectStore):
    """S3 that cannot be reached."""

    def get(self, key: str) -> StoredObject | None:
        raise StoreUnavailable("S3 cannot be reached")

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        raise StoreUnavailable("S3 cannot be reached")


class TestWithoutAPointer:
    @pytest.fixture
    def store(self, store: MemoryObjectStore) -> MemoryObjectStore:
        published(store, 2, KEY)
        store.delete([POINTER_KEY])
        return store

    def test_the_newest_whole_releases_list_is_held(self, store: MemoryObjectStore) -> None:
        follower = a_follower(store)
        assert (held(follower), follower.state) == (2, "published")

    def test_releases_that_are_not_whole_or_not_trusted_are_passed_over(self, store: MemoryObjectStore) -> None:
        store.delete(["releases/release-2/popular.json"])
        publish(store, "release-3", {"popular.json": b"{}"}, {"version": 3}, FOREIGN)
        assert held(a_follower(store)) == 1

    def test_where_none_is_trusted_it_is_not_said_that_none_was_published(self, store: MemoryObjectStore) -> None:
        follower = a_follower(store, TrustedKeys([FOREIGN.public]))
        assert (held(follower), follower.state) == (None, "unknown")

    def test_a_list_at_hand_stays(self, store: MemoryObjectStore) -> None:
        follower = a_follower(store)
        published(store, 3, KEY)
        store.delete([POINTER_KEY])
        follower.look()
        assert held(follower) == 2

    def test_a_pointer_that_comes_back_is_followed(self, store: MemoryObjectStore) -> None:
        follower = a_follower(store)
        point_to(store, None, "release-1", 1, "a test", ManualClock())
        follower.look()
        assert held(follower) == 1

    def test_a_damaged_pointer_is_like_none(self, store: MemoryObjectStore) -> None:
        store.put_new(POINTER_KEY, b"not a pointer")
        assert held(a_follower(store)) == 2

    def test_where_no_release_is_none_was_ever_published(self) -> None:
        assert a_follower(MemoryObjectStore()).state == "never"

    def test_where_nobody_knows_it_is_not_said(self) -> None:
        assert a_follower(NoStore()).state == "unknown"


class TestKeptOnDisk:
    @pytest.fixture
    def folder(self, tmp_path: Path, store: MemoryObjectStore) -> Path:
        """Where a gateway that has followed the pointer kept its list."""
        a_follower(store, kept=tmp_path / "kept")
        return tmp_path / "kept"

    def test_a_gateway_that_starts_without_s3_has_the_list_of_the_one_before(self, folder: Path) -> None:
        follower = a_follower(NoStore(), kept=folder)
        assert (held(follower), follower.state) == (1, "published")

    def test_once_s3_is_there_the_pointer_counts(self, store: MemoryObjectStore, folder: Path) -> None:
        published(store, 2, KEY)
        assert held(a_follower(store, kept=folder)) == 2
        assert held(a_follower(NoStore(), kept=folder)) == 2

    @pytest.mark.parametrize(
        ("file", "this", "that"),
        [("popular.json", b'"scores":[1.0]', b'"scores":[9.0]'), ("manifest.json", b'"version": 1', b'"version": 2')],
    )
    def test_it_is_verified_again(self, folder: Path, file: str, this: bytes, that: bytes) -> None:
        path = folder / file
        assert this in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(this, that))
        assert held(a_follower(NoStore(), kept=folder)) is None

    def test_a_key_that_is_trusted_no_more_makes_it_worthless(self, folder: Path) -> None:
        assert held(a_follower(NoStore(), TrustedKeys([FOREIGN.public]), folder)) is None

    def test_a_disk_that_takes_nothing_is_told_once_and_changes_nothing(
        self, store: MemoryObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "no folder").write_text("")
        follower = a_follower(store, kept=tmp_path / "no folder" / "kept")
        published(store, 2, KEY)
        follower.look()
        assert held(follower) == 2
        assert caplog.text.count("the popularity list is not kept on disk") == 1
