"""The tensors' cache in S3: a base and the deltas of the nights since, under `tensors/<fingerprint>/` of each night.

Objects are named by their own digest and written once. A night's manifest comes last and lists every object that its
graph is made of, those of earlier nights included, with size and sha256; so one manifest is all a reader needs, and
what no manifest names is nobody's. Whatever is missing, cut, altered or foreign is found before a byte is parsed, and
the caller reads Postgres instead."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping as MappingType
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from waypost.errors import CorruptObject
from waypost.graph.digests import FORMAT, Digests
from waypost.graph.encoding import (
    EDGES,
    NODES,
    TEXTS,
    decode_changes,
    decode_digests,
    decode_state,
    encode_digests,
    encode_state,
)
from waypost.graph.mapping import Mapping, mapping_from
from waypost.graph.state import GraphState, to_tensors
from waypost.graph.tensors import GraphTensors
from waypost.graph.updating import Change, later, update
from waypost.objects.bundle import CONCURRENT_TRANSFERS, MANIFEST, put_or_heal
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
PREFIX = "tensors"
MOST_DELTA_SHARE = 0.1  # of the base's bytes, before the deltas are folded into a new base
MOST_DELTAS = 16
DIGESTS, DELTA = "digests", "delta"


@dataclass(frozen=True)
class ObjectEntry:
    key: str
    size: int  # bytes
    sha256: str
    part: str  # edges, nodes, texts: a base; delta; digests


@dataclass(frozen=True)
class Night:
    """One night's manifest: what its graph is made of, in the order it is put together."""

    fingerprint: str
    mapping: Mapping
    server: int  # Postgres' major version, which decides about hashes
    made_at: float  # seconds since the epoch
    counts: MappingType[str, int]
    objects: tuple[ObjectEntry, ...]

    @property
    def deltas(self) -> tuple[ObjectEntry, ...]:
        return tuple(entry for entry in self.objects if entry.part == DELTA)

    @property
    def base_bytes(self) -> int:
        return sum(entry.size for entry in self.objects if entry.part in (EDGES, NODES, TEXTS))

    def to_bytes(self) -> bytes:
        content = {"format": FORMAT, **asdict(self)}
        return json.dumps({**content, "digest": _digest_of(content)}, indent=1, sort_keys=True).encode()


def manifest_key(fingerprint: str) -> str:
    return f"{PREFIX}/{fingerprint}/{MANIFEST}"


def parse_night(body: bytes, where: str) -> Night:
    """Raises CorruptObject for anything that is not a whole manifest of this format."""
    try:
        content = json.loads(body)
        if (found := content.get("format")) != FORMAT:
            raise CorruptObject(f"{where} is of format {found}, not {FORMAT}")
        if content.pop("digest") != _digest_of(content):
            raise CorruptObject(f"{where} differs from its own digest")
        del content["format"]
        objects = tuple(ObjectEntry(**entry) for entry in content.pop("objects"))
        night = Night(mapping=mapping_from(content.pop("mapping")), objects=objects, **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObject(f"{where} is not a manifest: {type(error).__name__}") from None
    if not all(entry.key.startswith(f"{PREFIX}/") and ".." not in entry.key for entry in objects):
        raise CorruptObject(f"{where} names an object outside {PREFIX}/")
    return night


def _digest_of(content: MappingType[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_night(store: ObjectStore, fingerprint: str) -> Night | None:
    """The manifest of that fingerprint; None when there is none. Raises CorruptObject."""
    key = manifest_key(fingerprint)
    found = store.get(key)
    if found is None:
        return None
    night = parse_night(found.body, key)
    if night.fingerprint != fingerprint:
        raise CorruptObject(f"{key} is the manifest of another night")
    return night


def list_nights(store: ObjectStore) -> list[str]:
    """Fingerprints that have a manifest, newest first."""
    infos = [info for info in store.list(f"{PREFIX}/") if info.key.count("/") == 2 and info.key.endswith(MANIFEST)]
    infos.sort(key=lambda info: (-info.modified_at, info.key))
    return [info.key.split("/")[1] for info in infos]


def newest_night(store: ObjectStore, mapping: Mapping, server_version: int) -> Night | None:
    """The last night that read the same columns from a server of the same major version; None without one."""
    for fingerprint in list_nights(store):
        try:
            night = load_night(store, fingerprint)
        except CorruptObject as error:
            logger.warning("a cached night is passed over", extra={"cause": str(error)})
            continue
        if night and night.mapping == mapping and night.server == server_version // 10_000:
            return night
    return None


def load_digests(store: ObjectStore, night: Night) -> dict[str, Digests]:
    """Raises CorruptObject."""
    entry = next((entry for entry in night.objects if entry.part == DIGESTS), None)
    if entry is None:
        raise CorruptObject(f"{manifest_key(night.fingerprint)} names no digests")
    return decode_digests(load_object(store, entry))


def load_base(store: ObjectStore, night: Night) -> tuple[GraphState, dict[str, Change]]:
    """The base, and all deltas as one change of it; fetched concurrently. Raises CorruptObject."""
    wanted = [entry for entry in night.objects if entry.part != DIGESTS]
    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:
        bodies = list(pool.map(lambda entry: load_object(store, entry), wanted))
    files = {entry.part: body for entry, body in zip(wanted, bodies, strict=True) if entry.part != DELTA}
    deltas = [decode_changes(body) for entry, body in zip(wanted, bodies, strict=True) if entry.part == DELTA]
    changes: dict[str, Change] = {}
    for delta in deltas:
        changes = later(changes, delta)
    return decode_state(files), changes


def load_object(store: ObjectStore, entry: ObjectEntry) -> bytes:
    """The object, once it is exactly what the manifest says. Raises CorruptObject."""
    found = store.get(entry.key)
    if found is None:
        raise CorruptObject(f"{entry.key} is missing")
    if len(found.body) != entry.size or hashlib.sha256(found.body).hexdigest() != entry.sha256:
        raise CorruptObject(f"{entry.key} differs from the sha256 in its manifest")
    return found.body


def load_tensors(store: ObjectStore, fingerprint: str) -> GraphTensors | None:
    """The kept graph of that fingerprint; None when it is not there, or not whole."""
    try:
        night = load_night(store, fingerprint)
        if night is None:
            return None
        state, changes = load_base(store, night)
        return to_tensors(update(state, changes, night.mapping), night.mapping)
    except CorruptObject as error:
        logger.warning("cached tensors refused", extra={"cause": str(error)})
        return None


def is_compact(night: Night, delta_bytes: int) -> bool:
    """Whether one more delta of that size may be kept without a new base."""
    together = sum(entry.size for entry in night.deltas) + delta_bytes
    return len(night.deltas) < MOST_DELTAS and together <= MOST_DELTA_SHARE * night.base_bytes


def save_base(store: ObjectStore, night: Night, state: GraphState, digests: MappingType[str, Digests]) -> int:
    """Write the whole graph as a base of its own; returns the bytes. `night` comes without objects."""
    files = {**encode_state(state), DIGESTS: encode_digests(digests)}
    return _save(store, night, (), files)


def save_delta(
    store: ObjectStore, night: Night, previous: Night, delta: bytes, digests: MappingType[str, Digests]
) -> int:
    """Write what changed since `previous`; returns the bytes."""
    inherited = tuple(entry for entry in previous.objects if entry.part != DIGESTS)
    return _save(store, night, inherited, {DELTA: delta, DIGESTS: encode_digests(digests)})


def _save(store: ObjectStore, night: Night, inherited: tuple[ObjectEntry, ...], files: MappingType[str, bytes]) -> int:
    entries = {part: _entry(night.fingerprint, part, body) for part, body in files.items()}
    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:
        list(pool.map(lambda part: put_or_heal(store, entries[part].key, files[part]), files))
    night = replace(night, objects=(*inherited, *entries.values()))
    put_or_heal(store, manifest_key(night.fingerprint), night.to_bytes())
    return sum(len(body) for body in files.values())


def _entry(fingerprint: str, part: str, body: bytes) -> ObjectEntry:
    digest = hashlib.sha256(body).hexdigest()
    return ObjectEntry(f"{PREFIX}/{fingerprint}/{part}-{digest[:16]}.safetensors", len(body), digest, part)
