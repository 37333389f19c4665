"""The releases and the moves of the pointer as an operator reads them: a line each, or one as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from waypost.errors import CorruptObject, NoRelease
from waypost.objects.bundle import Manifest
from waypost.objects.protocols import ObjectStore
from waypost.release.audit import AuditLine, plain_text, read_lines
from waypost.release.pointer import REMEDY, HeldPointer, line_of, read_pointer
from waypost.release.signing import TrustedKeys, signed_by
from waypost.release.store import find_release, list_releases


def list_lines(store: ObjectStore, trusted: TrustedKeys) -> Iterator[str]:
    """`*` marks the served one: version, id, when it was made, scores, and what an operator must know of it.

    Behind a damaged pointer all are listed, none marked, and then CorruptObject is raised.
    """
    try:
        held, damage = read_pointer(store), None
    except CorruptObject as error:
        held, damage = None, error
    for manifest in list_releases(store):
        facts = manifest.facts
        is_served = held is not None and held.pointer.release == facts["release"]
        mark = "*" if is_served else " "
        words = ["pinned"] if is_served and held and held.pointer.pinned else []
        words += [state] if (state := signature_state(manifest, trusted)) != "signed" else []
        made_at, scores = str(facts.get("made_at", "")), _scores_text(facts.get("scores", {}))
        line = "  ".join([f"{mark} {facts['version']:>5}", str(facts["release"]), made_at, scores, *words])
        yield plain_text(line.rstrip())
    if damage is not None:
        raise CorruptObject(f"the pointer is damaged, so no release is marked: {damage.cause}", REMEDY)


def _scores_text(scores: object) -> str:
    """Whatever a manifest says there: an unsigned one may say anything."""
    if not isinstance(scores, Mapping):
        return str(scores)
    return " ".join(f"{name}={f'{value:.4f}' if isinstance(value, float) else value}" for name, value in scores.items())


def signature_state(manifest: Manifest, trusted: TrustedKeys) -> str:
    """signed, unsigned, unchecked for want of keys, or refused: signed by nobody whom these keys know, or changed."""
    if signed_by(manifest) is None:
        return "unsigned"
    if not trusted:
        return "signature unchecked"
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
    if held is None or line_of(held.pointer) in lines:
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
        yield plain_text(f"{line.number:>5}  {line.when}  {line.how:8}  {line.who or 'unknown'}  {moved}  {line.why}")


def log_json(lines: list[AuditLine]) -> str:
    return json.dumps({"moves": [line.as_json() for line in lines]})
