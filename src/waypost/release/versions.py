"""Version numbers of releases: each is claimed in S3 before a release is made of it, so no two nights get the same.

A claim is a small object `releases/versions/<number>`, written where nothing is, and never swept: the number of
a release that was superseded, given up or removed is not given again.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from waypost.clock import Clock
from waypost.errors import StoreUnavailable
from waypost.objects.protocols import ObjectStore
from waypost.release.pointer import HeldPointer

PREFIX = "releases/versions/"
CLAIM_ATTEMPTS = 100  # so many exporters at the same moment, each of whom takes one
_NAMED_VERSION = re.compile(r"releases/(?:versions/(\d+)$|(\d+)-)")


def claim_version(store: ObjectStore, held: HeldPointer | None, by: str, clock: Clock) -> int:
    """The next number, from now on nobody else's. Raises StoreUnavailable."""
    body = json.dumps({"by": by, "at": datetime.fromtimestamp(clock.now(), UTC).isoformat(timespec="seconds")}).encode()
    first = next_version(store, held)
    for version in range(first, first + CLAIM_ATTEMPTS):
        if store.put_new(f"{PREFIX}{version:06d}", body):
            return version
    raise StoreUnavailable(f"none of {CLAIM_ATTEMPTS} version numbers from {first} could be claimed", "run it again")


def next_version(store: ObjectStore, held: HeldPointer | None) -> int:
    """One more than any that was claimed or served, or that an exporter before there were claims left in the store."""
    named = (_NAMED_VERSION.match(info.key) for info in store.list("releases/"))
    numbers = [int(found.group(1) or found.group(2)) for found in named if found]
    return max([held.pointer.highest_version if held else 0, *numbers]) + 1
