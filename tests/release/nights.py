"""Small signed releases, published as nights do it."""

from __future__ import annotations

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


def published(store: ObjectStore, name: str, by: str = "a night", clock: Clock = CLOCK) -> Pointer:
    """One night: its release holds its own name."""
    held = read_pointer(store)
    version = claim_version(store, held, by, clock)
    publish(store, name, {"model.onnx": name.encode(), "golden.json": b"{}"}, {"version": version}, KEY)
    return point_to(store, held, name, version, by, clock)


def replace(store: ObjectStore, key: str, body: bytes) -> None:
    """As somebody who may write to the bucket would."""
    found = store.get(key)
    assert found is not None
    assert store.put_if(key, body, found.etag)
