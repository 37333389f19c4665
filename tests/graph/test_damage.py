"""Whatever happens to the cached objects, every damage is found and no night's result changes by a byte.

One bit flipped, cut, emptied, lengthened, deleted, exchanged, of another format, edited by hand: on a cache of a base,
its deltas, digests and manifests. `make test-faults` does it a thousand times."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg2
import pytest

from tests.graph.truth import differences
from waypost.errors import CorruptObject
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import SessionLimits
from waypost.graph.reading import read_graph
from waypost.graph.store import list_nights, load_night, load_object, load_tensors, manifest_key
from waypost.graph.tensors import GraphTensors
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess

LIMITS = SessionLimits(connections=1, server_workers=0)
DELTAS = 4
GRAPH = """
    INSERT INTO users (user_id) SELECT i FROM generate_series(1, 40) AS i;
    INSERT INTO posts (post_id, title, created_at)
        SELECT i, noise, '2026-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(1, 100) AS i, LATERAL
        (SELECT string_agg(md5(i || ' ' || part), '') AS noise FROM generate_series(1, 60) AS part) AS long;
    INSERT INTO tags (tag_id, name) VALUES (1, 'sea'), (2, 'snow');
    INSERT INTO post_tags (post_id, tag_id) SELECT i, 1 + i % 2 FROM generate_series(1, 50) AS i;
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT 1 + i % 40, 1 + i * 7 % 100, 'view', '2026-02-01'::timestamptz + i * interval '10 minutes'
        FROM generate_series(1, 400) AS i
"""
A_CHANGE = "UPDATE interactions SET kind = 'like' WHERE created_at = (SELECT max(created_at) FROM interactions" \
    " WHERE kind = 'view')"  # fmt: skip

Objects = dict[str, bytes]  # by key, the oldest first
Damage = Callable[[Objects, str, np.random.Generator], None]


@dataclass(frozen=True)
class Cached:
    """A cache after several nights, and the graph that it is of."""

    dsn: str
    objects: Objects
    truth: GraphTensors
    fingerprint: str

    @property
    def used(self) -> set[str]:
        """What tonight looks at when nothing is damaged."""
        night = load_night(store_of(self.objects), self.fingerprint)
        assert night is not None
        return {manifest_key(self.fingerprint), *(entry.key for entry in night.objects)}


@pytest.fixture
def cached(postgres_dsn: str) -> Cached:
    store = MemoryObjectStore()
    with closing(psycopg2.connect(postgres_dsn)) as connection:
        connection.autocommit = True
        for change in (GRAPH, *[A_CHANGE] * DELTAS):
            with connection.cursor() as cursor:
                cursor.execute(change)
            found = read_graph(postgres_dsn, store, DEFAULT, LIMITS)
    night = load_night(store, found.fingerprint)
    assert night is not None
    assert len(night.deltas) == DELTAS
    return Cached(postgres_dsn, objects_of(store), found.tensors, found.fingerprint)


def objects_of(store: ObjectStore) -> Objects:
    infos = sorted(store.list(""), key=lambda info: info.modified_at)
    found = {info.key: store.get(info.key) for info in infos}
    return {key: stored.body for key, stored in found.items() if stored is not None}


def store_of(objects: Objects) -> MemoryObjectStore:
    """Its objects are as old, one beside the other, as they stand in `objects`."""
    store = MemoryObjectStore()
    for key, body in objects.items():
        store.put_new(key, body)
    return store


def flip_a_bit(objects: Objects, key: str, choose: np.random.Generator) -> None:
    body = bytearray(objects[key])
    body[int(choose.integers(len(body)))] ^= 1 << int(choose.integers(8))
    objects[key] = bytes(body)


def change_a_byte(objects: Objects, key: str, choose: np.random.Generator) -> None:
    body = bytearray(objects[key])
    at = int(choose.integers(len(body)))
    body[at] = (body[at] + int(choose.integers(1, 256))) % 256
    objects[key] = bytes(body)


def cut(objects: Objects, key: str, choose: np.random.Generator) -> None:
    objects[key] = objects[key][: int(choose.integers(len(objects[key])))]


def lengthen(objects: Objects, key: str, choose: np.random.Generator) -> None:
    objects[key] += bytes(int(choose.integers(1, 9)))


def delete(objects: Objects, key: str, choose: np.random.Generator) -> None:
    del objects[key]


def exchange(objects: Objects, key: str, choose: np.random.Generator) -> None:
    """With another of its kind: two manifests, or two files."""
    alike = [other for other in objects if other != key and other.endswith(".json") == key.endswith(".json")]
    other = alike[int(choose.integers(len(alike)))]
    objects[key], objects[other] = objects[other], objects[key]


def edit(objects: Objects, key: str, choose: np.random.Generator) -> None:
    """A manifest that is JSON as before; of another object, its first bytes."""
    if not key.endswith(".json"):
        objects[key] = b"{}" + objects[key][2:] + b" "
        return
    content = json.loads(objects[key])
    edits = _edits(content, choose)
    edits[int(choose.integers(len(edits)))]()
    objects[key] = json.dumps(content, indent=1, sort_keys=True).encode()


def _edits(content: dict[str, Any], choose: np.random.Generator) -> list[Callable[[], object]]:
    """Each makes the manifest another, with every field of the right type."""
    entries = content["objects"]
    entry = entries[int(choose.integers(len(entries)))]
    edits: list[Callable[[], object]] = [
        lambda: content.update(format=content["format"] + 1),
        lambda: content.update(format=1),
        lambda: content.update(server=content["server"] - 1),
        lambda: content.update(made_at=content["made_at"] + 1),
        lambda: content.update(fingerprint=content["fingerprint"][::-1]),
        lambda: content["counts"].update(users=content["counts"]["users"] + 1),
        lambda: content["mapping"].update(weights=[["view", 9.0]]),
        content["mapping"]["sources"].reverse,
        lambda: content["mapping"]["sources"][0].update(select="SELECT user_id FROM users WHERE false"),
        lambda: entry.update(size=entry["size"] + 1),
        lambda: entry.update(sha256="0" * 64),
        lambda: entry.update(part="edges" if entry["part"] != "edges" else "delta"),
        lambda: entry.update(key=entries[(entries.index(entry) + 1) % len(entries)]["key"]),
        lambda: entries.remove(entry),
        lambda: entries.append(dict(entry)),
        entries.reverse,
    ]
    deltas = [other for other in entries if other["part"] == "delta"]
    if deltas:  # a graph of an earlier night, whole and well-formed, under tonight's name
        edits.append(lambda: entries.remove(deltas[-1]))
    if len(deltas) > 1:
        first, last = entries.index(deltas[0]), entries.index(deltas[-1])
        edits.append(lambda: entries.__setitem__(slice(first, last + 1), entries[first : last + 1][::-1]))
    return edits


DAMAGES: tuple[Damage, ...] = (
    flip_a_bit, flip_a_bit, flip_a_bit, change_a_byte, cut, cut, lengthen, delete, exchange, edit, edit,
)  # fmt: skip


def is_found(store: ObjectStore, objects: Objects, key: str) -> bool:
    """Whether whoever reads that object learns that it is not what it was."""
    for other in objects:
        if other.endswith(".json"):
            try:
                night = load_night(store, other.split("/")[1])
            except CorruptObject:
                if other == key:
                    return True
                continue
            if night is None:
                return other == key
            for entry in night.objects:
                if entry.key == key:
                    try:
                        load_object(store, entry)
                    except CorruptObject:
                        return True
    return False


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("times", "change"),
    [
        pytest.param(30, "", id="30 of an unchanged graph"),
        pytest.param(30, A_CHANGE, id="30 of a changed graph"),
        pytest.param(1_000, "", id="1,000 of an unchanged graph", marks=[pytest.mark.faults]),
        pytest.param(300, A_CHANGE, id="300 of a changed graph", marks=[pytest.mark.faults]),
    ],
)
def test_every_damage_is_found_and_no_night_is_another(
    cached: Cached, times: int, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    choose, counts = np.random.default_rng(1_000), Counter[str]()
    truth, fingerprint = cached.truth, cached.fingerprint
    if change:
        with closing(psycopg2.connect(cached.dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(change)
        whole = read_graph(cached.dsn, MemoryObjectStore(), DEFAULT, LIMITS)
        truth, fingerprint = whole.tensors, whole.fingerprint
    newest, keys = manifest_key(cached.fingerprint), list(cached.objects)
    for number in range(times):
        objects, key = dict(cached.objects), keys[int(choose.integers(len(keys)))]
        damage = DAMAGES[int(choose.integers(len(DAMAGES)))]
        damage(objects, key, choose)
        where = f"{damage.__name__} of {key}, number {number}"
        changed = {other for other in keys if objects.get(other) != cached.objects[other]}
        assert changed, where
        store = store_of(objects)
        assert all(is_found(store, cached.objects, other) for other in changed), where
        caplog.clear()
        found = read_graph(cached.dsn, store, DEFAULT, LIMITS)
        assert differences(found.tensors, truth) == [], where
        assert found.fingerprint == fingerprint, where
        counts[damage.__name__] += 1
        if changed & cached.used and newest in objects:  # without a newest manifest, the night before is the newest
            counts["in tonight's way"] += 1
            assert warnings_of(caplog), where
        if number % 3 == 0:
            check_healed(cached, store, truth, fingerprint, caplog, where)
    print(f"{times} damaged objects, every one found, every night right: {dict(counts)}")


def check_healed(
    cached: Cached, store: ObjectStore, truth: GraphTensors, fingerprint: str, caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:  # fmt: skip
    """What is kept is whole again, and the next night has nothing to complain of."""
    kept = load_tensors(store, fingerprint)
    assert kept is not None, where
    assert differences(kept, truth) == [], where
    caplog.clear()
    again = read_graph(cached.dsn, store, DEFAULT, LIMITS)
    assert warnings_of(caplog) == [], where
    assert differences(again.tensors, truth) == [], where


@pytest.mark.parametrize("damage", [flip_a_bit, cut, delete, exchange, edit], ids=lambda damage: damage.__name__)
def test_damage_in_s3_is_found_and_healed_too(
    cached: Cached, aws_access: AwsAccess, bucket: str, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    choose, objects = np.random.default_rng(3), dict(cached.objects)
    store = S3ObjectStore(s3_client(aws_access), bucket)
    for key in cached.objects:  # what no night does without: the base, or every manifest
        if ("/manifest" if damage is edit else "/edges") in key:
            damage(objects, key, choose)
    for other, body in objects.items():
        store.put_new(other, body)
    time.sleep(1.1)  # S3 tells times in seconds, and what is healed is to be the newest
    found = read_graph(cached.dsn, store, DEFAULT, LIMITS)
    assert differences(found.tensors, cached.truth) == []
    assert warnings_of(caplog)
    check_healed(cached, store, cached.truth, cached.fingerprint, caplog, damage.__name__)


def test_a_cache_that_is_whole_is_nothing_to_warn_of(cached: Cached, caplog: pytest.LogCaptureFixture) -> None:
    """The control: it is the damage that the others warn of."""
    store = store_of(cached.objects)
    assert len(list_nights(store)) == DELTAS + 1
    assert not any(is_found(store, cached.objects, key) for key in cached.objects)
    caplog.clear()
    found = read_graph(cached.dsn, store, DEFAULT, LIMITS)
    assert differences(found.tensors, cached.truth) == []
    assert warnings_of(caplog) == []
    assert objects_of(store) == cached.objects
