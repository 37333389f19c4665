"""Nights for the tests of what happens to them: small releases, by the exporter's own first and last step."""

from __future__ import annotations

import secrets
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.clock import ManualClock
from waypost.exporter.publishing import Release, prepare, publish_and_point
from waypost.objects.protocols import ObjectStore
from waypost.release.pointer import POINTER_KEY, HeldPointer, read_pointer
from waypost.release.signing import SigningKey, TrustedKeys
from waypost.release.store import GOLDEN, LOOKUPS, MODEL, POPULAR, TOKENIZER
from waypost.release.versions import claim_version

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
TRUSTED = TrustedKeys([KEY.public])
DAY = 24 * 3600.0


def two_days_later() -> ManualClock:
    """What was uploaded up to now is old by then."""
    return ManualClock(time.time() + 2 * DAY)


def some_files(name: str) -> dict[str, bytes]:
    """Of every file it can be told which release it is of."""
    return {path: f"{path} of {name}".encode() for path in (MODEL, LOOKUPS, TOKENIZER, GOLDEN, POPULAR)}


def run_night(store: ObjectStore, name: str | None = None, clock: ManualClock | None = None) -> str:
    """The exporter's dealings with the store; the release's id."""
    clock = clock or two_days_later()
    held = prepare(store, clock)
    release = a_release_for(store, held, name, clock)
    publish_and_point(store, held, release, KEY, "a night", clock)
    return release.name


def a_release_for(store: ObjectStore, held: HeldPointer | None, name: str | None, clock: ManualClock) -> Release:
    version = claim_version(store, held, "a night", clock)
    name = f"{version:06d}-{name or secrets.token_hex(4)}"
    return Release(name, version, some_files(name), {"version": version})


def pointer_of(store: ObjectStore) -> HeldPointer:
    held = read_pointer(store)
    assert held is not None
    return held


def break_pointer(store: ObjectStore) -> None:
    held = pointer_of(store)
    assert store.put_if(POINTER_KEY, held.pointer.to_bytes()[:-9], held.etag)
