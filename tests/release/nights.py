"""Small signed releases, published as nights do it."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.clock import Clock, ManualClock
from waypost.objects.protocols import ObjectStore
from waypost.release.moves import point_to
from waypost.release.pointer import Pointer, read_pointer
from waypost.release.signing import SigningKey, TrustedKeys
from waypost.release.store import publish
from waypost.release.versions import claim_version

KEY = SigningKey(Ed25519PrivateKey.generate())
TRUSTED = TrustedKeys([KEY.public])
CLOCK = ManualClock()
NO_FACTS: Mapping[str, str] = {}


def published(
    store: ObjectStore, name: str, by: str = "a night", clock: Clock = CLOCK, facts: Mapping[str, str] = NO_FACTS
) -> Pointer:
    """One night: its release holds its own name, and among its facts these."""
    held = read_pointer(store)
    version = claim_version(store, held, by, clock)
    publish(store, name, {"model.onnx": name.encode(), "golden.json": b"{}"}, {"version": version, **facts}, KEY)
    return point_to(store, held, name, version, by, clock)


def replace(store: ObjectStore, key: str, body: bytes) -> None:
    """As somebody who may write to the bucket would."""
    found = store.get(key)
    assert found is not None
    assert store.put_if(key, body, found.etag)
