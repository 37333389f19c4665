"""A bundle: a folder of write-once objects with a manifest that is written last and lists size and sha256 of each.

Tensors, checkpoints and releases are all bundles. A bundle without its manifest does not exist; one whose object
differs from the manifest is corrupt and never used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from waypost.errors import CorruptObject
from waypost.objects.protocols import ObjectStore

MANIFEST = "manifest.json"
REMEDY = "make it again with `waypost night`, or go back with `waypost release rollback`"
PUT_ATTEMPTS = 3  # somebody may write, or remove, the same key between our looks
CONCURRENT_TRANSFERS = 8  # enough to hide S3's latency, few enough for one connection pool


@dataclass(frozen=True)
class FileEntry:
    path: str  # inside the bundle
    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`facts` is what the writer of the bundle says about it: any JSON object."""

    files: tuple[FileEntry, ...]
    facts: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Canonical: these bytes and no others are this manifest."""
        files = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in self.files]
        return json.dumps({**self.facts, "files": files}, indent=2, sort_keys=True).encode()

    def file(self, path: str) -> FileEntry:
        for entry in self.files:
            if entry.path == path:
                return entry
        raise CorruptObject(f"the manifest names no {path}")


def parse_manifest(body: bytes, where: str) -> Manifest:
    """Raises CorruptObject for anything that is not a whole manifest, byte for byte as `to_bytes` writes it."""
    try:
        content = json.loads(body)
        files = tuple(FileEntry(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in content.pop("files"))
        manifest = Manifest(files, content)
        as_written = manifest.to_bytes() == body
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise CorruptObject(f"{where} is not a manifest: {type(error).__name__}", REMEDY) from None
    if any(f.path.startswith("/") or ".." in f.path.split("/") for f in files):
        raise CorruptObject(f"{where} names a path outside its folder")
    if not as_written:
        raise CorruptObject(f"{where} was changed after it was written", REMEDY)
    return manifest


def describe(files: Mapping[str, bytes], facts: Mapping[str, Any]) -> Manifest:
    """The manifest of these file contents. The facts become what a reader of the manifest will find: plain JSON."""
    entries = [FileEntry(path, len(body), hashlib.sha256(body).hexdigest()) for path, body in sorted(files.items())]
    return Manifest(tuple(entries), json.loads(json.dumps(facts)))


def check(entry: FileEntry, body: bytes, where: str) -> bytes:
    """`body` when it is exactly what the manifest says; else CorruptObject."""
    if len(body) != entry.size:
        raise CorruptObject(f"{where}/{entry.path} has {len(body)} bytes, its manifest says {entry.size}", REMEDY)
    if hashlib.sha256(body).hexdigest() != entry.sha256:
        raise CorruptObject(f"{where}/{entry.path} differs from the sha256 in its manifest", REMEDY)
    return body


def unsealed(manifest: Manifest) -> Manifest:
    """As it was described."""
    return manifest


def save_bundle(
    store: ObjectStore,
    prefix: str,
    files: Mapping[str, bytes],
    facts: Mapping[str, Any],
    seal: Callable[[Manifest], Manifest] = unsealed,
) -> Manifest:
    """Write every file, then the manifest, as `seal` returns it: signed, for instance.

    A file left by an interrupted writer is replaced. Raises StoreUnavailable; whatever was written until then has no
    manifest and so is no bundle.
    """
    manifest = seal(describe(files, facts))
    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:
        list(pool.map(lambda path: put_or_heal(store, f"{prefix}/{path}", files[path]), files))
    put_or_heal(store, f"{prefix}/{MANIFEST}", manifest.to_bytes())
    return manifest


def load_manifest(store: ObjectStore, prefix: str) -> Manifest | None:
    """The bundle's manifest, or None when there is no such bundle (or not yet)."""
    found = store.get(f"{prefix}/{MANIFEST}")
    return parse_manifest(found.body, f"{prefix}/{MANIFEST}") if found else None


def load_files(
    store: ObjectStore, prefix: str, manifest: Manifest, wanted: Callable[[str], bool] = lambda path: True
) -> dict[str, bytes]:
    """The wanted files, fetched concurrently, each verified before it is returned. Raises CorruptObject."""

    def fetch(entry: FileEntry) -> tuple[str, bytes]:
        found = store.get(f"{prefix}/{entry.path}")
        if found is None:
            raise CorruptObject(f"{prefix}/{entry.path} is missing", REMEDY)
        return entry.path, check(entry, found.body, prefix)

    with ThreadPoolExecutor(CONCURRENT_TRANSFERS) as pool:
        return dict(pool.map(fetch, [entry for entry in manifest.files if wanted(entry.path)]))


def put_or_heal(store: ObjectStore, key: str, body: bytes) -> None:
    """Write once; what an interrupted writer left under the key is replaced.

    By the same bytes too: that makes them young again, and only what is old and nobody's is ever tidied away.
    """
    for _ in range(PUT_ATTEMPTS):
        if store.put_new(key, body):
            return
        found = store.get(key)
        if found is not None and store.put_if(key, body, found.etag):
            return
    raise CorruptObject(f"{key} was written by somebody else meanwhile", "run the verb again")
