"""What a verb opens before it starts: where the parts are, the store, the releases, the mapping; and where it tells.

Everything is imported when it is called, so that a verb needs no more than its own extra installed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from waypost.settings import EmbeddedStack, Part, Parts, SharedSettings, absent_parts, read_shared, resolve_parts

if TYPE_CHECKING:
    from waypost.clock import Clock
    from waypost.graph.mapping import Mapping as SchemaMapping
    from waypost.objects.protocols import ObjectStore
    from waypost.release.signing import TrustedKeys

logger = logging.getLogger("waypost")


def read_parts(environ: Mapping[str, str], needed: Iterable[Part]) -> Parts:
    """Where the needed parts are; says so when some of them are embedded."""
    shared = read_shared(environ)
    needed = tuple(needed)
    parts = resolve_parts(shared, needed, read_stack_if_needed(shared, needed), environ.get("AWS_REGION"))
    if parts.embedded:
        logger.info("using embedded parts", extra={"parts": ",".join(parts.embedded), "folder": str(shared.local_dir)})
    return parts


def read_stack_if_needed(shared: SharedSettings, needed: Sequence[Part]) -> EmbeddedStack | None:
    """The embedded stack's description, unless every needed part is given: images carry no local stack."""
    if shared.embedded == "never" or not absent_parts(shared, needed):
        return None
    from waypost.local.stack import read_stack

    return read_stack(shared.local_dir)


def read_schema_mapping(environ: Mapping[str, str]) -> SchemaMapping:
    from waypost.graph.mapping import read_mapping

    return read_mapping(read_shared(environ).mapping_file)


def open_store(environ: Mapping[str, str]) -> ObjectStore:
    return store_of(read_parts(environ, ["s3"]))


def store_of(parts: Parts) -> ObjectStore:
    from waypost.objects.s3 import S3ObjectStore, s3_client

    return S3ObjectStore(s3_client(parts.s3), parts.bucket)


def open_releases(environ: Mapping[str, str]) -> tuple[ObjectStore, TrustedKeys]:
    """The store and whatever keys there are: to look at releases none are needed."""
    from waypost.release.signing import NO_KEYS, load_trusted_keys

    parts = read_parts(environ, ["s3"])
    return store_of(parts), load_trusted_keys(parts.release_keys_file) if parts.release_keys_file else NO_KEYS


def open_mover(environ: Mapping[str, str]) -> tuple[ObjectStore, TrustedKeys, str, Clock]:
    """What it takes to move the pointer: the store, whom its readers trust, and who and when for the audit."""
    from waypost.clock import SystemClock
    from waypost.release.audit import whoami

    return *open_releases(environ), whoami(), SystemClock()


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
