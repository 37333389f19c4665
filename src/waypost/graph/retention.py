"""Retention: which nights of the cache stay. A pure plan of what goes and why, and the thin edge that carries it out.

What stays: the newest nights and the young ones; every object that a manifest names, under whichever night's folder it
lies; the folders of the newest checkpoints, for the exporter; the data contract's last accepted reports; the baselines'
lists of graphs that stay.

The order makes it safe to be killed, and to run beside a night. Manifests go first; then the bucket is looked at again,
and only what none of the manifests found then names goes. So a crash leaves whole nights and objects that nobody
names, which the next run takes. A night that is under way has either written its manifest before that second look, and
what it builds on stays, or it finds the manifest that it built on gone, and writes a base instead (reading.py). Its own
objects, not named by anything yet, are protected by their age: nothing younger than a day is ever touched. What cannot
be read as a manifest of ours is believed in nothing, and goes a day after the last word was written beside it."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from waypost.errors import CorruptObject
from waypost.graph.store import PREFIX, Night, load_night, manifest_key
from waypost.objects.bundle import CONCURRENT_TRANSFERS, MANIFEST
from waypost.objects.protocols import ObjectInfo, ObjectStore
from waypost.settings import CacheSettings

logger = logging.getLogger(__name__)
DAY_SECONDS = 86_400.0
GRACE_SECONDS = DAY_SECONDS  # no night lasts longer, or the next one would overtake it; clocks differ by far less
KEPT_CHECKPOINTS = 3  # the newest is what the exporter takes; two more for `waypost exporter --checkpoint`
KEPT_REPORTS = 7  # accepted ones: the data contract's history (trainer/contract.py)
CHECKPOINTS, METADATA = "checkpoints", "metadata.json"
REFRESHES = "-refresh"  # how checkpoints end that `waypost refresh` keeps every few minutes
BASELINES = "baselines"  # the trainer's lists, a bundle `<fingerprint>-<digest>` each
TOKENS = "tokens"  # a bundle inside a night's folder
_REPORT = re.compile(r"contract-(\d{8}T\d{12}Z)\.json")


@dataclass(frozen=True)
class Inventory:
    """One look at the bucket."""

    objects: tuple[ObjectInfo, ...]  # everything under tensors/ and baselines/
    nights: Mapping[str, Night | None]  # by fingerprint, wherever a manifest is; None: it cannot be read
    held: frozenset[str] = frozenset()  # fingerprints that the newest checkpoints were trained on
    reports: frozenset[str] = frozenset()  # keys of the data contract's history


@dataclass(frozen=True)
class Removal:
    key: str
    size: int  # bytes
    why: str

    def __str__(self) -> str:
        return f"{self.key}  {self.size:,} bytes  {self.why}"


def expired(found: Inventory, settings: CacheSettings, now: float) -> list[Removal]:
    """The manifests that go. `now` is seconds since the epoch."""
    last_used, sizes = _last_used(found), {info.key: info.size for info in found.objects}
    readable = [fingerprint for fingerprint, night in found.nights.items() if night is not None]
    newest = sorted(readable, key=lambda fingerprint: (-last_used[fingerprint], fingerprint))[: settings.keep_nights]
    going = []
    for fingerprint in sorted(found.nights.keys() - found.held - set(newest)):
        age = now - last_used[fingerprint]
        if why := _why_expired(found.nights[fingerprint], age, settings):
            going.append(Removal(manifest_key(fingerprint), sizes[manifest_key(fingerprint)], why))
    return going


def _why_expired(night: Night | None, age_seconds: float, settings: CacheSettings) -> str:
    """Empty when it stays."""
    if age_seconds <= GRACE_SECONDS:
        return ""
    if night is None:
        return "no manifest of this version of Waypost"
    if age_seconds <= settings.keep_days * DAY_SECONDS:
        return ""
    return (
        f"last used {age_seconds / DAY_SECONDS:.0f} days ago, "
        f"older than {settings.keep_days:g} and not among the newest {settings.keep_nights}"
    )


def orphans(found: Inventory, now: float) -> list[Removal]:
    """The objects that go: old ones that none of these nights names or has in its care, manifests of tokens first."""
    named = {entry.key for night in found.nights.values() if night for entry in night.objects} | found.reports
    going = [
        Removal(info.key, info.size, "no night names it")
        for info in found.objects
        if now - info.modified_at > GRACE_SECONDS and info.key not in named and not _is_cared_for(info.key, found)
    ]
    return sorted(going, key=lambda removal: (not removal.key.endswith(MANIFEST), removal.key))


def _is_cared_for(key: str, found: Inventory) -> bool:
    """Whether it stays as long as its folder's night does, or is not ours to take."""
    prefix, fingerprint, *inside = key.split("/")
    if prefix == BASELINES:
        fingerprint = fingerprint.partition("-")[0]
        return not inside or fingerprint in found.nights or fingerprint in found.held
    if not inside or inside == [MANIFEST] or fingerprint in found.held:
        return True
    if fingerprint not in found.nights:
        return False
    return found.nights[fingerprint] is None or _is_beside(inside)


def without(found: Inventory, going: list[Removal]) -> Inventory:
    """What a second look would find after these are gone."""
    keys = {removal.key for removal in going}
    return replace(
        found,
        objects=tuple(info for info in found.objects if info.key not in keys),
        nights={name: night for name, night in found.nights.items() if manifest_key(name) not in keys},
    )


def plan(found: Inventory, settings: CacheSettings, now: float) -> list[Removal]:
    """All that a run at this moment would remove, in its order."""
    going = expired(found, settings, now)
    return [*going, *orphans(without(found, going), now)]


def read_plan(store: ObjectStore, settings: CacheSettings, now: float) -> list[Removal]:
    """What `remove_expired` would remove; nothing is touched. Raises StoreUnavailable."""
    return plan(read_inventory(store), settings, now)


def remove_expired(store: ObjectStore, settings: CacheSettings, now: float) -> list[Removal]:
    """Remove what is not to be kept; returns what went. Raises StoreUnavailable, with nothing broken then."""
    nights = expired(read_inventory(store), settings, now)
    store.delete([removal.key for removal in nights])
    objects = orphans(read_inventory(store), now)
    for is_manifest in (True, False):  # that of a night's tokens goes before what it names
        store.delete([removal.key for removal in objects if removal.key.endswith(MANIFEST) == is_manifest])
    return [*nights, *objects]


def keep_tidy(store: ObjectStore, settings: CacheSettings, now: float) -> None:
    """The end of a night: what went is logged, and so is a failure, which is no reason to lose the night."""
    try:
        gone = remove_expired(store, settings, now)
    except Exception as error:
        logger.warning("cache not tidied", extra={"cause": str(error) or type(error).__name__})
        return
    nights = sum(is_night_manifest(removal.key) for removal in gone)
    logger.info(
        "cache tidied",
        extra={"nights": nights, "objects": len(gone) - nights, "bytes": sum(removal.size for removal in gone)},
    )


def read_inventory(store: ObjectStore) -> Inventory:
    """Raises StoreUnavailable: without a whole look nothing may go."""
    objects = (*store.list(f"{PREFIX}/"), *store.list(f"{BASELINES}/"))
    fingerprints = [info.key.split("/")[1] for info in objects if is_night_manifest(info.key)]
    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:
        nights = pool.map(partial(_read_night, store), fingerprints)
    reports = islice(_accepted_reports(store, objects), KEPT_REPORTS)
    return Inventory(objects, dict(zip(fingerprints, nights, strict=True)), read_held(store), frozenset(reports))


def is_night_manifest(key: str) -> bool:
    """And not that of a bundle inside the night's folder."""
    return key.startswith(f"{PREFIX}/") and key.count("/") == 2 and key.endswith(f"/{MANIFEST}")


def read_held(store: ObjectStore) -> frozenset[str]:
    """The fingerprints of the newest checkpoints, without which they cannot be exported.

    Of nights and of refreshes each, or a morning's refreshes would push the night's own out.
    """
    end = f"/{MANIFEST}"
    names = [info.key.removesuffix(end) for info in store.list(f"{CHECKPOINTS}/") if info.key.endswith(end)]
    nights = [name for name in names if not name.endswith(REFRESHES)]
    refreshes = [name for name in names if name.endswith(REFRESHES)]
    return _held_by(store, nights) | _held_by(store, refreshes)


def _held_by(store: ObjectStore, names: list[str]) -> frozenset[str]:
    found = (_fingerprint_of(store, name) for name in sorted(names, reverse=True))
    return frozenset(islice((fingerprint for fingerprint in found if fingerprint), KEPT_CHECKPOINTS))


def _fingerprint_of(store: ObjectStore, checkpoint: str) -> str:
    """Empty when it names none: then nobody can load it either."""
    content = _read_json(store, f"{checkpoint}/{METADATA}")
    return str(content.get("fingerprint", ""))


def _accepted_reports(store: ObjectStore, objects: tuple[ObjectInfo, ...]) -> Iterator[str]:
    """Keys, newest first; no more is read than the caller takes."""
    matched = [(match.group(1), info.key) for info in objects if (match := _REPORT.fullmatch(info.key.split("/")[-1]))]
    for _, key in sorted(matched, reverse=True):
        if _read_json(store, key).get("accepted") is True:
            yield key


def _read_json(store: ObjectStore, key: str) -> dict[str, Any]:
    """Empty when it is not there, or no JSON object."""
    found = store.get(key)
    try:
        content = json.loads(found.body) if found else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _read_night(store: ObjectStore, fingerprint: str) -> Night | None:
    try:
        return load_night(store, fingerprint)
    except CorruptObject:
        return None


def _last_used(found: Inventory) -> dict[str, float]:
    """By night, when something of its own was last written in its folder: a night that finds nothing changed writes
    the data contract's report there and nothing else. Of an unreadable one everything there is its own."""
    last_used = dict.fromkeys(found.nights, -math.inf)
    for info in found.objects:
        fingerprint, *inside = info.key.split("/")[1:]
        if fingerprint in found.nights and (
            found.nights[fingerprint] is None or inside[0] == MANIFEST or _is_beside(inside)
        ):
            last_used[fingerprint] = max(last_used[fingerprint], info.modified_at)
    return last_used


def _is_beside(inside: list[str]) -> bool:
    """Tokens and reports, which no manifest names: they go when their night does."""
    return inside[0] == TOKENS or bool(_REPORT.fullmatch(inside[0]))
