"""The gateway's own list comes from a release that a trusted key signed, or stays what it was."""

from __future__ import annotations

from dataclasses import replace as changed

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.clock import ManualClock
from waypost.gateway.follower import PopularFollower
from waypost.metrics import GatewayMetrics
from waypost.objects.memory import MemoryObjectStore
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


def a_follower(store: MemoryObjectStore, trusted: TrustedKeys = TRUSTED) -> PopularFollower:
    follower = PopularFollower(store, trusted, GatewayMetrics())
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
    assert held(a_follower(store)) is None
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
    assert held(a_follower(store)) is None


def test_a_pointer_to_a_release_that_is_gone_changes_nothing(store: MemoryObjectStore) -> None:
    follower = a_follower(store)
    point_to(store, read_pointer(store), "release-9", 9, "a test", ManualClock())
    follower.look()
    assert held(follower) == 1
