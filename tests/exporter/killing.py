"""A store whose user is killed before or after its n-th call: from then on it makes no call at all.

`Killed` is no Exception, so no `except Exception` on the way lets the dead one go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Literal, NoReturn, TypeVar

from waypost.objects.protocols import ObjectInfo, ObjectStore, StoredObject

When = Literal["before", "after"]
T = TypeVar("T")


class Killed(BaseException):
    pass


def _raise() -> NoReturn:
    raise Killed


class KillingStore:
    def __init__(
        self, store: ObjectStore, point: int = 0, when: When = "before", kill: Callable[[], NoReturn] = _raise
    ) -> None:
        """Points count from 1; without one nobody is killed and `calls` are counted."""
        self._store, self._point, self._when, self._kill = store, point, when, kill
        self._lock = threading.Lock()
        self.calls: list[str] = []

    def get(self, key: str) -> StoredObject | None:
        return self._call(f"get {key}", lambda: self._store.get(key))

    def put_new(self, key: str, body: bytes) -> bool:
        return self._call(f"put_new {key}", lambda: self._store.put_new(key, body))

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        return self._call(f"put_if {key}", lambda: self._store.put_if(key, body, etag))

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        return self._call(f"list {prefix}", lambda: self._store.list(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        return self._call("delete", lambda: self._store.delete(keys))

    def _call(self, name: str, act: Callable[[], T]) -> T:
        with self._lock:  # one call at a time, so that a point is a point
            self.calls.append(name)
            number = len(self.calls)
            if self._point and (number > self._point or (number == self._point and self._when == "before")):
                self._kill()
            done = act()
            if number == self._point:
                self._kill()
            return done
