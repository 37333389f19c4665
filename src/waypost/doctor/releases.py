"""The bucket, the pointer in it, and the release it points to: signature, sizes, and every file's digest.

The release's golden questions are handed on, for whoever looks at the Triton that should answer them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from waypost.doctor.asking import ANSWER_SECONDS
from waypost.doctor.clocks import Clocks
from waypost.doctor.findings import Finding, bad, ok, warn
from waypost.doctor.handed import Asked, Handed
from waypost.doctor.looking import Look, Part
from waypost.errors import SettingsError
from waypost.objects.bundle import Manifest, check
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release import audit
from waypost.release.pointer import POINTER_KEY, Pointer, read_pointer
from waypost.release.signing import NO_KEYS, TrustedKeys, load_trusted_keys, signed_by
from waypost.release.store import GOLDEN, load_release, require_whole
from waypost.settings import Parts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET, POINTER, RELEASE = "bucket", "pointer", "release"
CALL_SECONDS = 1.5  # S3's answer to a small read; it takes some ten milliseconds
DIGEST_SECONDS = 2.5  # of reading files; a release of 200,000 posts is 0.1 GB
UNREACHABLE = "check AWS_ENDPOINT_URL, the network and the role"
MEGABYTE = 1_000_000


def releases_look(parts: Parts, handed: Handed, clocks: Clocks) -> Look:
    def find() -> Iterator[Finding]:
        try:
            yield from _found(parts, handed, clocks)
        finally:
            handed.hand(None)

    return Look(
        (
            Part(BUCKET, CALL_SECONDS + 1.0, UNREACHABLE),
            Part(POINTER, CALL_SECONDS + ANSWER_SECONDS, UNREACHABLE),
            Part(RELEASE, DIGEST_SECONDS + 0.5, "read it where S3 is nearer", when_silent="warn"),
        ),
        find,
    )


def _found(parts: Parts, handed: Handed, clocks: Clocks) -> Iterator[Finding]:
    client = s3_client(parts.s3, read_timeout_seconds=CALL_SECONDS, attempts=1)
    with closing(client):
        yield from _judged(client, parts, handed, clocks)


def _judged(client: S3Client, parts: Parts, handed: Handed, clocks: Clocks) -> Iterator[Finding]:
    store = S3ObjectStore(client, parts.bucket)
    store.get(POINTER_KEY)
    yield ok(BUCKET, f"{parts.bucket} can be read")
    clocks.compare_date_of(client.meta.endpoint_url, "S3")
    pointer = _pointer(store)
    if isinstance(pointer, Finding):
        yield pointer
        return
    yield ok(
        POINTER,
        f"says {pointer.release}, version {pointer.version}, since {pointer.moved_at}"
        + (", pinned: nights publish and do not point" if pointer.pinned else ""),
    )
    yield from _release(store, pointer, _trusted(parts.release_keys_file), handed)


def _pointer(store: ObjectStore) -> Pointer | Finding:
    """Raises CorruptObject for one that is damaged."""
    held = read_pointer(store)
    if held is not None:
        return held.pointer
    lines = audit.read_lines(store, 1)
    if not lines:
        return bad(POINTER, "is not there: no release was ever published", "run `waypost night`")
    last = lines[0].to_release
    return bad(POINTER, f"was deleted; it last said {last}", f"write it anew with `waypost release rollback {last}`")


def _trusted(path: Path | None) -> TrustedKeys:
    """A file that cannot be read is told where the files are looked at."""
    try:
        return load_trusted_keys(path) if path else NO_KEYS
    except SettingsError:
        return NO_KEYS


def _release(store: ObjectStore, pointer: Pointer, trusted: TrustedKeys, handed: Handed) -> Iterator[Finding]:
    began = time.monotonic()
    name, version = pointer.release, pointer.version
    manifest, files = load_release(store, name, trusted, version=version, wanted=lambda path: path == GOLDEN)
    if GOLDEN in files:
        handed.hand(Asked(version, files[GOLDEN]))
    require_whole(store, manifest)
    unread = _unread(store, manifest, began + DIGEST_SECONDS)
    if unread:
        said = f"{name} was not read whole within {DIGEST_SECONDS:g} s: {', '.join(unread)}"
        yield warn(RELEASE, said, "look again where S3 is nearer")
        return
    size = sum(entry.size for entry in manifest.files) / MEGABYTE
    signed = "signed by a trusted key" if trusted else "signature not checked" if signed_by(manifest) else "unsigned"
    yield ok(RELEASE, f"{name} is whole: {len(manifest.files)} files, {size:.1f} MB, every digest right; {signed}")


def _unread(store: ObjectStore, manifest: Manifest, until: float) -> list[str]:
    """The files that there was no time for, the small ones first. Raises CorruptObject for a wrong one."""
    where = f"releases/{manifest.facts['release']}"
    entries = sorted(manifest.files, key=lambda entry: entry.size)
    while entries and time.monotonic() < until:
        entry = entries.pop(0)
        found = store.get(f"{where}/{entry.path}")
        check(entry, found.body if found else b"", where)
    return [entry.path for entry in entries]
