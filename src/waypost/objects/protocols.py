"""ObjectStore: the few things Waypost asks of S3. Objects are written once; one pointer is moved by conditional write.

S3 and its in-memory twin pass the same contract tests, so code and tests above this line cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    body: bytes
    etag: str


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int  # bytes
    modified_at: float  # seconds since the epoch


class ObjectStore(Protocol):
    """Every method raises StoreUnavailable when the store cannot be reached or refuses."""

    def get(self, key: str) -> StoredObject | None:
        """The whole object, or None when there is none."""

    def put_new(self, key: str, body: bytes) -> bool:
        """Write where nothing is; False, and nothing changed, when something is there already."""

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        """Replace exactly the object with that etag; False, and nothing changed, when it is another by now."""

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        """Everything under the prefix, by ascending key."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove these; a key that is not there is no error."""
