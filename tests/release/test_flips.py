"""Flipped bytes and truncations over all files of a release as stored: none is ever loaded.

Every byte counts: of the manifest because it is canonical and signed, of the files because the manifest has their
digests, of the pointer because it carries a digest of itself or reads exactly as before."""

from __future__ import annotations

import random

import pytest

from tests.factories import a_release
from tests.release.nights import CLOCK, KEY, TRUSTED, replace
from waypost.errors import CorruptObject
from waypost.gateway.follower import load_popular
from waypost.objects.bundle import parse_manifest
from waypost.objects.memory import MemoryObjectStore
from waypost.release.moves import point_to, roll_back
from waypost.release.pointer import POINTER_KEY, read_pointer
from waypost.release.store import POPULAR, load_release, publish

RELEASE = "000001-flips-0"
MANIFEST_KEY = f"releases/{RELEASE}/manifest.json"
POPULAR_KEY = f"releases/{RELEASE}/{POPULAR}"


@pytest.fixture
def store() -> MemoryObjectStore:
    """One release with whatever a real one has, and a pointer that has been moved."""
    found = MemoryObjectStore()
    files, facts = a_release()
    publish(found, RELEASE, files, {**facts, "scores": {"recall": 0.123456789, "ndcg": 1e-05}}, KEY)
    point_to(found, None, RELEASE, 1, "a night", CLOCK)
    roll_back(found, RELEASE, "p99 went from 50 to 80 ms", "ops@desk", CLOCK)
    return found


def damaged(body: bytes, chance: random.Random) -> bytes:
    """One flipped bit, one replaced byte, a cut, or a cut followed by zeros, as a torn write leaves it."""
    at = chance.randrange(len(body))
    match chance.randrange(4):
        case 0:
            return body[:at] + bytes([body[at] ^ (1 << chance.randrange(8))]) + body[at + 1 :]
        case 1:
            return body[:at] + bytes([body[at] ^ chance.randrange(1, 256)]) + body[at + 1 :]
        case 2:
            return body[:at]
        case _:
            cut = body[:at] + bytes(len(body) - at)
            return cut if cut != body else body[:-1]


def load(store: MemoryObjectStore) -> None:
    """As worker and gateway do."""
    held = read_pointer(store)
    assert held is not None
    load_release(store, held.pointer.release, TRUSTED, version=held.pointer.version)
    load_popular(store, held.pointer.release, TRUSTED, held.pointer.version)


def try_damages(store: MemoryObjectStore, count: int) -> int:
    """Every file in turn; returns how many damages of the pointer changed nothing that it says."""
    chance = random.Random(20261121)
    keys = [info.key for info in store.list("releases/") if info.key.startswith(f"releases/{RELEASE}/")]
    keys.append(POINTER_KEY)
    assert {MANIFEST_KEY, POPULAR_KEY, POINTER_KEY} <= set(keys)
    whole, harmless = read_pointer(store), 0
    for number in range(count):
        key = keys[number % len(keys)]
        found = store.get(key)
        assert found is not None
        replace(store, key, damaged(found.body, chance))
        if key == POINTER_KEY:
            harmless += reads_the_same(store, whole.pointer if whole else None)
        else:
            with pytest.raises(CorruptObject):
                load(store)
        replace(store, key, found.body)
    load(store)  # the control: it is the damages that were refused
    return harmless


def reads_the_same(store: MemoryObjectStore, pointer: object) -> bool:
    """True: read, and exactly as before; False: refused."""
    try:
        held = read_pointer(store)
    except CorruptObject:
        return False
    assert held is not None
    assert held.pointer == pointer
    return True


def test_a_hundred_damages_are_never_loaded(store: MemoryObjectStore) -> None:
    try_damages(store, 100)


@pytest.mark.faults
def test_a_thousand_damages_are_never_loaded(store: MemoryObjectStore) -> None:
    harmless = try_damages(store, 1_000)
    print(f"1,000 damages over all files of a release: none loaded; {harmless} of the pointer changed nothing it says")


def every_flip(body: bytes) -> list[bytes]:
    return [body[:i] + bytes([body[i] ^ (1 << bit)]) + body[i + 1 :] for i in range(len(body)) for bit in range(8)]


@pytest.mark.faults
def test_every_bit_of_the_manifest_and_of_the_pointer_counts(store: MemoryObjectStore) -> None:
    manifest, pointer, whole = store.get(MANIFEST_KEY), store.get(POINTER_KEY), read_pointer(store)
    assert manifest is not None
    assert pointer is not None
    assert whole is not None
    for body in [*every_flip(manifest.body), *(manifest.body[:cut] for cut in range(len(manifest.body)))]:
        with pytest.raises(CorruptObject):
            TRUSTED.verify(parse_manifest(body, "x"))
    flips = every_flip(pointer.body)
    cuts = [pointer.body[:cut] for cut in range(len(pointer.body))]
    for body in flips + cuts:
        replace(store, POINTER_KEY, body)
        reads_the_same(store, whole.pointer)
    print(f"{8 * len(manifest.body) + 8 * len(pointer.body)} flipped bits of manifest and pointer: none read otherwise")
