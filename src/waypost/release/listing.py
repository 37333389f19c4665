"""The releases as an operator reads them: a line each, or one as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from waypost.errors import NoRelease
from waypost.objects.protocols import ObjectStore
from waypost.release.store import find_release, list_releases, read_pointer


def list_lines(store: ObjectStore) -> Iterator[str]:
    """`*` marks the served one: version, id, when it was made, sizes and scores."""
    held = read_pointer(store)
    served = held.pointer.release if held else None
    for manifest in list_releases(store):
        facts = manifest.facts
        mark = "*" if facts["release"] == served else " "
        scores = " ".join(f"{name}={value:.4f}" for name, value in dict(facts.get("scores", {})).items())
        yield f"{mark} {facts['version']:>5}  {facts['release']}  {facts.get('made_at', '')}  {scores}".rstrip()


def show_json(store: ObjectStore, wanted: str | None) -> str:
    """Manifest of one release (the served one when `wanted` is None), with the pointer where it is the served one."""
    held = read_pointer(store)
    if wanted is None and held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    name = wanted if wanted is not None else (held.pointer.release if held else "")
    manifest = find_release(list_releases(store), name, held.pointer.served if held else ())
    shown = json.loads(manifest.to_bytes())
    if held is not None and held.pointer.release == manifest.facts["release"]:
        shown["pointer"] = asdict(held.pointer)
    return json.dumps(shown, indent=2)
