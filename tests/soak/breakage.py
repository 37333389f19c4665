"""Twenty ways in which a release can be bad: half of it is missing, somebody else made it, it answers wrongly, or it is
merely worse. Each publishes one and points to it, as an exporter gone wrong would."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.factories import a_release, release_of, some_tables, some_tensors
from waypost.clock import SystemClock
from waypost.errors import CorruptObject
from waypost.objects.bundle import MANIFEST
from waypost.objects.protocols import ObjectStore
from waypost.release.pointer import POINTER_KEY, Target, move_pointer, read_pointer, replace_damaged
from waypost.release.signing import SigningKey
from waypost.release.store import LOOKUPS, MODEL, TOKENIZER, publish

NUM_USERS, NUM_POSTS = 300, 800
TENSORS = some_tensors(NUM_USERS, NUM_POSTS)
SLOW_VERSION_SECONDS = 0.3  # what WAYPOST_FAULTS adds to the inference of the one slow release


@dataclass(frozen=True)
class Publisher:
    """An exporter's hands, without its conscience."""

    store: ObjectStore
    key: SigningKey

    def good(self, version: int) -> str:
        return self.publish(version, *a_release(version=version, drift=version, tensors=TENSORS))

    def publish(
        self, version: int, files: dict[str, bytes], facts: dict[str, Any], key: SigningKey | None = None
    ) -> str:
        name = f"{version:06d}-{uuid.uuid4().hex[:8]}"
        publish(self.store, name, files, facts, key or self.key)
        self.point(name, version)
        return name

    def point(self, name: str, version: int) -> None:
        target = Target(name, version, "publish", "soak", "a test")
        try:
            move_pointer(self.store, read_pointer(self.store), target, SystemClock())
        except CorruptObject:
            replace_damaged(self.store, target, SystemClock())

    def overwrite(self, key: str, change: Callable[[bytes], bytes]) -> None:
        found = self.store.get(key)
        assert found is not None
        assert self.store.put_if(key, change(found.body), found.etag)


Break = Callable[[Publisher, int], None]


def _stored(path: str, change: Callable[[bytes], bytes]) -> Break:
    """Whole when it was published, and changed in the store before the pointer was moved."""

    def publish_and_change(publisher: Publisher, version: int) -> None:
        name = f"{version:06d}-{uuid.uuid4().hex[:8]}"
        files, facts = a_release(version=version, drift=version, tensors=TENSORS)
        publish(publisher.store, name, files, facts, publisher.key)
        publisher.overwrite(f"releases/{name}/{path}", change)
        publisher.point(name, version)

    return publish_and_change


def _made(change: Callable[[int, dict[str, bytes]], dict[str, bytes]]) -> Break:
    """Signed and whole, and wrong all the same."""

    def publish_changed(publisher: Publisher, version: int) -> None:
        files, facts = a_release(version=version, drift=version, tensors=TENSORS)
        publisher.publish(version, change(version, files), facts)

    return publish_changed


def _flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _missing(publisher: Publisher, version: int) -> None:
    name = f"{version:06d}-{uuid.uuid4().hex[:8]}"
    publish(publisher.store, name, *a_release(version=version, tensors=TENSORS), publisher.key)
    publisher.store.delete([f"releases/{name}/golden.json"])
    publisher.point(name, version)


def _half_published(publisher: Publisher, version: int) -> None:
    name = f"{version:06d}-{uuid.uuid4().hex[:8]}"
    publisher.store.put_new(f"releases/{name}/{MODEL}", a_release(version=version, tensors=TENSORS)[0][MODEL])
    publisher.point(name, version)


def _unsigned(publisher: Publisher, version: int) -> None:
    name = f"{version:06d}-{uuid.uuid4().hex[:8]}"
    publish(publisher.store, name, *a_release(version=version, tensors=TENSORS))
    publisher.point(name, version)


def _strangers(publisher: Publisher, version: int) -> None:
    publisher.publish(version, *a_release(version=version, tensors=TENSORS), SigningKey(Ed25519PrivateKey.generate()))


def _other_version(publisher: Publisher, version: int) -> None:
    name = f"{version:06d}-{uuid.uuid4().hex[:8]}"
    publish(publisher.store, name, *a_release(version=version + 1_000, tensors=TENSORS), publisher.key)
    publisher.point(name, version)


def _nowhere(publisher: Publisher, version: int) -> None:
    publisher.point(f"{version:06d}-nowhere", version)


def _garbage_pointer(publisher: Publisher, version: int) -> None:
    publisher.overwrite(POINTER_KEY, lambda body: b'{"release": 7')


def _edited_manifest(body: bytes) -> bytes:
    content = json.loads(body)
    content["git_commit"] = "somebody else's"
    return json.dumps(content, indent=2, sort_keys=True).encode()


def _another_model(version: int, files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, MODEL: a_release(version=version, seed=99, tensors=TENSORS)[0][MODEL]}


def _not_a_number(publisher: Publisher, version: int) -> None:
    tables = some_tables(TENSORS, seed=0)
    broken = replace(tables, post_vector=np.where(np.arange(NUM_POSTS)[:, None] % 7 == 0, np.nan, tables.post_vector))
    publisher.publish(
        version, *release_of(TENSORS, replace(broken, post_vector=broken.post_vector.astype(np.float32)), version)
    )


def _strange_lists(publisher: Publisher, version: int) -> None:
    """A model that knows the posts by other rows: golden answers and all, it agrees with itself."""
    tables = some_tables(TENSORS, seed=0)
    away = replace(tables, post_vector=-tables.post_vector)
    publisher.publish(version, *release_of(TENSORS, away, version))


def _good_but_slow(publisher: Publisher, version: int) -> None:
    """The fault is set for this version (see SLOW)."""
    publisher.good(version)


SLOW, GARBAGE = "slow", "pointer garbage"
BREAKAGES: dict[str, Break] = {
    "model cut": _stored(MODEL, lambda body: body[:-1]),
    "model empty": _stored(MODEL, lambda body: b""),
    "lookups flipped": _stored(LOOKUPS, _flipped),
    "tokenizer flipped": _stored(TOKENIZER, _flipped),
    "manifest cut": _stored(MANIFEST, lambda body: body[: len(body) // 2]),
    "manifest edited": _stored(MANIFEST, _edited_manifest),
    "manifest spaced": _stored(MANIFEST, lambda body: body + b" "),
    "file missing": _missing,
    "half published": _half_published,
    "unsigned": _unsigned,
    "signed by a stranger": _strangers,
    "other version than pointed to": _other_version,
    "pointer to nowhere": _nowhere,
    GARBAGE: _garbage_pointer,
    "another model": _made(_another_model),
    "no ONNX": _made(lambda version, files: {**files, MODEL: b"not a model" * 100}),
    "no tokenizer": _made(lambda version, files: {**files, TOKENIZER: b"{}"}),
    "not a number": _not_a_number,
    "strange lists": _strange_lists,
    SLOW: _good_but_slow,
}
