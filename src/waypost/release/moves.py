"""The reasons to move the pointer, each with its rule: publish, roll back, pin, unpin, and a pod's retreat.

A pin says that operators decide what is served: while it holds, exporters publish and do not point. Only `unpin`
lifts it; a rollback of a pinned pointer stays pinned. Nights and pods give way to whoever moved the pointer before
them; an operator's word is carried out even when the pointer moves while he speaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from waypost.clock import Clock
from waypost.errors import CorruptObject, NoRelease, Superseded
from waypost.objects.bundle import Manifest
from waypost.objects.protocols import ObjectStore
from waypost.release.pointer import HeldPointer, Pointer, Target, move_pointer, read_pointer, replace_damaged
from waypost.release.signing import NO_KEYS, TrustedKeys
from waypost.release.store import find_release, list_releases, load_release_manifest, require_whole, version_of

RIVALS = 5  # nights and pods that may move the pointer in the same second as an operator


def point_to(
    store: ObjectStore, held: HeldPointer | None, release: str, version: int, by: str, clock: Clock
) -> Pointer:
    """Have a new release served, by canary. Raises Superseded, StoreUnavailable."""
    return move_pointer(store, held, Target(release, version, "publish", "published by the exporter", by), clock)


def roll_back(
    store: ObjectStore,
    release: str | None,
    reason: str,
    by: str,
    clock: Clock,
    *,
    pin: bool = False,
    trusted: TrustedKeys = NO_KEYS,
) -> Pointer:
    """Point to `release` (id or version), or to the one that was served before the present one.

    A damaged pointer is replaced when a release is named; its pin stays, as far as the audit knows of it. What no pod
    would serve is refused before anything is moved.
    Raises NoRelease, UsageError, CorruptObject, Superseded.
    """
    try:
        held = read_pointer(store)
    except CorruptObject:
        held = None
        if release is None:
            raise
    releases = list_releases(store)
    if held is None and release is not None and releases:  # the pointer is damaged, or somebody deleted it
        found = find_release(releases, release, ())
        require_servable(store, found, trusted)
        return replace_damaged(store, _target(found, "rollback", reason, by, pinned=pin), clock)
    if held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    if release is None:
        found = served_before(releases, held.pointer)
    else:
        found = find_release(releases, release, held.pointer.served)
    require_servable(store, found, trusted)
    return _insist(store, held, lambda now: _target(found, "rollback", reason, by, pinned=pin or now.pinned), clock)


def pin(
    store: ObjectStore, release: str | None, reason: str, by: str, clock: Clock, *, trusted: TrustedKeys = NO_KEYS
) -> Pointer:
    """Serve `release` (id or version; the present one when None), whatever nights publish, until it is unpinned.

    Raises NoRelease, UsageError, CorruptObject, Superseded.
    """
    held = _require_pointer(store)
    wanted = release or held.pointer.release
    found = find_release(list_releases(store), wanted, held.pointer.served)
    require_servable(store, found, trusted)
    return _insist(store, held, lambda now: _target(found, "pin", reason, by, pinned=True), clock)


def unpin(store: ObjectStore, reason: str, by: str, clock: Clock) -> Pointer:
    """The next night's release is served again; until then the present one. Raises NoRelease, Superseded."""
    held = _require_pointer(store)
    if not held.pointer.pinned:
        return held.pointer
    return _insist(store, held, lambda now: Target(now.release, now.version, "unpin", reason, by), clock)


def retreat(store: ObjectStore, held: HeldPointer, proven: str, reason: str, by: str, clock: Clock) -> Pointer:
    """A pod gives a release up: back to `proven`, which it serves, unless somebody moved the pointer since it was read.

    Not to what the pointer named before: that one may have been on trial itself. Raises Superseded, NoRelease,
    CorruptObject, StoreUnavailable.
    """
    manifest = load_release_manifest(store, proven)
    return move_pointer(store, held, _target(manifest, "retreat", reason, by, pinned=held.pointer.pinned), clock)


def require_servable(store: ObjectStore, manifest: Manifest, trusted: TrustedKeys) -> None:
    """Signed by a trusted key and all there. Raises CorruptObject: pods would go on with what they have."""
    trusted.verify(manifest)
    require_whole(store, manifest)


def served_before(releases: list[Manifest], current: Pointer) -> Manifest:
    """Of the older ones the one that was served last. Raises NoRelease.

    Not the one with the highest version: that may have been rolled back, or given up by the pods, for a reason.
    """
    older = {str(m.facts["release"]): m for m in releases if version_of(m) < current.version}
    for name in reversed(current.served):
        if name in older:
            return older[name]
    raise NoRelease(f"no release older than {current.release} was ever served", "see `waypost release list`")


def _insist(store: ObjectStore, held: HeldPointer, decide: Callable[[Pointer], Target], clock: Clock) -> Pointer:
    """Move it to what is decided of the pointer as it is then. Superseded only when there is no end of rivals."""
    for _ in range(RIVALS):
        try:
            return move_pointer(store, held, decide(held.pointer), clock)
        except Superseded:
            held = _require_pointer(store)
    return move_pointer(store, held, decide(held.pointer), clock)


def _require_pointer(store: ObjectStore) -> HeldPointer:
    held = read_pointer(store)
    if held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    return held


def _target(
    manifest: Manifest, how: Literal["rollback", "pin", "retreat"], reason: str, by: str, *, pinned: bool
) -> Target:
    return Target(str(manifest.facts["release"]), version_of(manifest), how, reason, by, pinned)
