"""The in-memory twin of S3, for tests; it passes S3's own contract tests."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable

from waypost.objects.protocols import ObjectInfo, StoredObject


class MemoryObjectStore:
    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> StoredObject | None:
        found = self._objects.get(key)
        return StoredObject(found[0], _etag(found[0])) if found else None

    def put_new(self, key: str, body: bytes) -> bool:
        with self._lock:
            if key in self._objects:
                return False
            self._objects[key] = (body, time.time())
            return True

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        with self._lock:
            found = self._objects.get(key)
            if found is None or _etag(found[0]) != etag:
                return False
            self._objects[key] = (body, time.time())
            return True

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        with self._lock:
            chosen = [(key, *value) for key, value in self._objects.items() if key.startswith(prefix)]
        return [ObjectInfo(key, len(body), modified_at) for key, body, modified_at in sorted(chosen)]

    def delete(self, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)


def _etag(body: bytes) -> str:
    return '"' + hashlib.md5(body, usedforsecurity=False).hexdigest() + '"'
