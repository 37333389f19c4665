"""The releases and the moves of the pointer as an operator reads them: a line each, or one as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from waypost.errors import CorruptObject, NoRelease
from waypost.objects.bundle import Manifest
from waypost.objects.protocols import ObjectStore
from waypost.release.audit import AuditLine, read_lines
from waypost.release.pointer import HeldPointer, line_of, read_pointer
from waypost.release.signing import TrustedKeys, signed_by
from waypost.release.store import find_release, list_releases


def list_lines(store: ObjectStore, trusted: TrustedKeys) -> Iterator[str]:
    """`*` marks the served one: version, id, when it was made, scores, and what an operator must know of it."""
    held = read_pointer(store)
    for manifest in list_releases(store):
        facts = manifest.facts
        is_served = held is not None and held.pointer.release == facts["release"]
        mark = "*" if is_served else " "
        scores = " ".join(f"{name}={value:.4f}" for name, value in dict(facts.get("scores", {})).items())
        words = ["pinned"] if is_served and held and held.pointer.pinned else []
        words += [state] if (state := signature_state(manifest, trusted)) != "signed" else []
        yield "  ".join(
            [f"{mark} {facts['version']:>5}", facts["release"], facts.get("made_at", ""), scores, *words]
        ).rstrip()


def signature_state(manifest: Manifest, trusted: TrustedKeys) -> str:
    """signed, unsigned, or refused: signed by nobody whom these keys know, or changed since."""
    if signed_by(manifest) is None:
        return "unsigned"
    try:
        trusted.verify(manifest)
    except CorruptObject:
        return "signature refused"
    return "signed"


def show_json(store: ObjectStore, wanted: str | None, trusted: TrustedKeys) -> str:
    """Manifest of one release (the served one when `wanted` is None), with the pointer where it is the served one."""
    held = read_pointer(store)
    if wanted is None and held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    name = wanted if wanted is not None else (held.pointer.release if held else "")
    manifest = find_release(list_releases(store), name, held.pointer.served if held else ())
    shown = json.loads(manifest.to_bytes())
    shown["signed"] = signature_state(manifest, trusted)
    if held is not None and held.pointer.release == manifest.facts["release"]:
        shown["pointer"] = asdict(held.pointer)
    return json.dumps(shown, indent=2)


def read_log(store: ObjectStore, limit: int) -> list[AuditLine]:
    """The newest moves of the pointer, newest first, the present one included."""
    held, lines = _read_held(store), read_lines(store, limit)
    if held is None or any(line.number == held.pointer.number for line in lines):
        return lines
    return [line_of(held.pointer), *lines][:limit]  # who moved it died before the line was written


def _read_held(store: ObjectStore) -> HeldPointer | None:
    try:
        return read_pointer(store)
    except CorruptObject:  # then all the more does somebody want to see what was before
        return None


def log_lines(lines: list[AuditLine]) -> Iterator[str]:
    for line in lines:
        moved = f"{line.from_release or 'nothing'} → {line.to_release}"
        yield f"{line.number:>5}  {line.when}  {line.how:8}  {line.who or 'unknown'}  {moved}  {line.why}"


def log_json(lines: list[AuditLine]) -> str:
    return json.dumps({"moves": [line.as_json() for line in lines]})
