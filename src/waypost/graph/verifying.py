"""Is everything in the cache what its manifests say? Every object is fetched, compared and decoded, and every night is
put together and counted.

The night itself checks all this before it uses anything; this verb asks ahead of time, and of nights that are only
kept. Nights that share a base are looked at together, so that it is fetched once and one base at a time is in memory.
Objects that no manifest names are no problem; `waypost cache gc` takes them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby

import numpy as np

from waypost.errors import CorruptObject, SchemaError
from waypost.graph.digests import Digests
from waypost.graph.encoding import decode_changes, decode_digests, decode_state
from waypost.graph.retention import TOKENS
from waypost.graph.state import GraphState
from waypost.graph.store import DELTA, DIGESTS, PREFIX, Night, ObjectEntry, list_nights, load_night, manifest_key
from waypost.graph.updating import Change, later, update
from waypost.logs import Progress
from waypost.objects.bundle import CONCURRENT_TRANSFERS, load_files, load_manifest
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
_READ_ANEW = "the next night that would use it reads Postgres instead; `waypost night` does so now"
_FOREIGN = "no night uses it; `waypost cache gc` takes it once it is a day old"
_TOKENS_ANEW = "the next night makes them anew; `waypost night` does so now"
_OURS = "report this: it is a fault of ours; the next night reads Postgres if that object is removed"


@dataclass(frozen=True)
class Finding:
    code: str
    key: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code} {self.key}: {self.what}; {self.fix}"


@dataclass
class Verified:
    """What was looked at, and what was found."""

    nights: int = 0
    objects: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps({"ok": not self.findings, **asdict(self)})

    def lines(self) -> Iterator[str]:
        yield from map(str, self.findings)
        if not self.findings:
            yield f"no findings: {self.nights} nights, {self.objects} objects, {self.bytes:,} bytes"


def verify(store: ObjectStore, only_newest: bool = False) -> Verified:
    """Every night, or the newest by its manifest. Raises StoreUnavailable."""
    found = Verified()
    nights = list(_read_nights(store, list_nights(store)[: 1 if only_newest else None], found))
    with Progress(logger, "cache verified", "objects", len(_entries(nights))) as progress:
        for _, group in groupby(sorted(nights, key=_base_keys), _base_keys):
            _verify_together(store, list(group), found, progress)
    for night in nights:
        _verify_tokens(store, night.fingerprint, found)
    found.findings.sort(key=lambda finding: (finding.key, finding.code))
    return found


def _read_nights(store: ObjectStore, fingerprints: Iterable[str], found: Verified) -> Iterator[Night]:
    for fingerprint in fingerprints:
        try:
            night = load_night(store, fingerprint)
        except CorruptObject as error:
            found.findings.append(Finding("manifest-unreadable", manifest_key(fingerprint), error.cause, _FOREIGN))
            continue
        if night is not None:
            found.nights += 1
            yield night


def _verify_together(store: ObjectStore, nights: Sequence[Night], found: Verified, progress: Progress) -> None:
    """Nights of one base."""
    entries = _entries(nights)
    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:
        bodies: dict[ObjectEntry, bytes] = {}
        for entry, body in zip(entries, pool.map(partial(_fetch, store), entries), strict=True):
            found.objects, found.bytes = found.objects + 1, found.bytes + entry.size
            progress.advance(1)
            if isinstance(body, Finding):
                found.findings.append(body)
            else:
                bodies[entry] = body
    whole = [night for night in nights if all(entry in bodies for entry in night.objects)]
    found.findings += _decode(whole, bodies)


def _fetch(store: ObjectStore, entry: ObjectEntry) -> bytes | Finding:
    stored = store.get(entry.key)
    if stored is None:
        return Finding("object-missing", entry.key, "a manifest names it and it is not there", _READ_ANEW)
    if len(stored.body) != entry.size:
        what = f"it has {len(stored.body)} bytes, a manifest says {entry.size}"
        return Finding("size-mismatch", entry.key, what, _READ_ANEW)
    if hashlib.sha256(stored.body).hexdigest() != entry.sha256:
        return Finding("digest-mismatch", entry.key, "it differs from the sha256 in a manifest", _READ_ANEW)
    return stored.body


def _decode(nights: Sequence[Night], bodies: Mapping[ObjectEntry, bytes]) -> list[Finding]:
    """Of nights whose objects are all what they were written as; what is wrong now was written wrongly."""
    if not nights:
        return []
    base = {entry.part: bodies[entry] for entry in _base(nights[0])}
    try:
        state = decode_state(base)
        _ = state.post_facts.texts.data  # parsed only when asked for
    except CorruptObject as error:
        return [Finding("object-undecodable", _base_keys(nights[0])[0], error.cause, _OURS)]
    deltas: dict[ObjectEntry, dict[str, Change]] = {}
    findings = []
    for entry in _entries(nights):
        try:
            if entry.part == DELTA:
                deltas[entry] = decode_changes(bodies[entry])
            elif entry.part == DIGESTS:
                decode_digests(bodies[entry])
        except CorruptObject as error:
            findings.append(Finding("object-undecodable", entry.key, error.cause, _OURS))
    wrong = {finding.key for finding in findings}
    sound = [night for night in nights if not wrong & {entry.key for entry in night.objects}]
    found = [_put_together(night, state, deltas, bodies) for night in sound]
    return findings + [finding for finding in found if finding]


def _put_together(
    night: Night,
    base: GraphState,
    deltas: Mapping[ObjectEntry, Mapping[str, Change]],
    bodies: Mapping[ObjectEntry, bytes],
) -> Finding | None:
    """Whether the night's graph has the rows that its digests count."""
    digests = next((decode_digests(bodies[entry]) for entry in night.objects if entry.part == DIGESTS), None)
    if digests is None:
        what = "it names no digests"
    else:
        changes: dict[str, Change] = {}
        for entry in night.deltas:
            changes = later(changes, deltas[entry])
        try:
            what = _miscounted(update(base, changes, night.mapping), night, digests)
        except (SchemaError, IndexError, KeyError, ValueError) as error:
            what = f"its objects do not make a graph: {type(error).__name__}"
    return Finding("night-inconsistent", manifest_key(night.fingerprint), what, _OURS) if what else None


def _miscounted(state: GraphState, night: Night, digests: Mapping[str, Digests]) -> str:
    """Empty when all rows are there. Users may be given twice and post_tags too, so these are at most as many."""
    counted = {name: digest.total()[1] for name, digest in digests.items()}
    live = np.bincount(state.interactions.kind, minlength=len(state.kinds))
    orphaned = np.bincount(state.orphans.kind, minlength=len(state.kinds))
    held = dict.fromkeys((source.name for source in night.mapping.sources), 0)
    for (_, source), count in zip(state.kinds, (live + orphaned).tolist(), strict=True):
        held[source] += count
    exact = [source.name for source in night.mapping.sources if source.role == "interactions"] + ["posts", "tags"]
    held |= {"posts": len(state.posts), "tags": len(state.tags)}
    wrong = [name for name in exact if held[name] != counted.get(name, 0)]
    return "; ".join(f"{name} has {held[name]} rows, its digests count {counted.get(name, 0)}" for name in wrong)


def _verify_tokens(store: ObjectStore, fingerprint: str, found: Verified) -> None:
    """The tokens beside a night, as the bundle that they are."""
    prefix = f"{PREFIX}/{fingerprint}/{TOKENS}"
    try:
        manifest = load_manifest(store, prefix)
        files = load_files(store, prefix, manifest) if manifest else {}
    except CorruptObject as error:
        found.findings.append(Finding("tokens-damaged", prefix, error.cause, _TOKENS_ANEW))
        return
    found.objects += len(files)
    found.bytes += sum(len(body) for body in files.values())


def _entries(nights: Iterable[Night]) -> list[ObjectEntry]:
    """Each once."""
    return list(dict.fromkeys(entry for night in nights for entry in night.objects))


def _base(night: Night) -> list[ObjectEntry]:
    return [entry for entry in night.objects if entry.part not in (DELTA, DIGESTS)]


def _base_keys(night: Night) -> tuple[str, ...]:
    return tuple(entry.key for entry in _base(night)) or (manifest_key(night.fingerprint),)
