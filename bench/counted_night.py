"""`waypost night`, with the bytes of every stage beside its seconds: one line of JSON a stage on standard output.

What passes the two doors, rows out of Postgres and objects in and out of S3, is counted where it passes. A stage gets
what arrived since the stage before it ended; the cache's base, fetched while Postgres computes digests, is given to the
stage that waits for it.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from waypost import cli
from waypost.graph.postgres import SnapshotConnection
from waypost.objects.s3 import S3ObjectStore

BASE, AWAITED = ("/edges-", "/nodes-", "/texts-", "/delta-"), "base awaited"
COUNTED = ("postgres_bytes", "s3_read_bytes", "s3_written_bytes")


class Counter(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._counts, self._base_bytes = dict.fromkeys(COUNTED, 0), 0

    def count(self, what: str, amount: int, of_base: bool = False) -> None:
        with self._lock:
            if of_base:
                self._base_bytes += amount
            else:
                self._counts[what] += amount

    def emit(self, record: logging.LogRecord) -> None:
        """A stage ended."""
        seconds = getattr(record, "seconds", None)
        if seconds is None:
            return
        with self._lock:
            counts, self._counts = self._counts, dict.fromkeys(COUNTED, 0)
            if record.getMessage() == AWAITED:
                counts["s3_read_bytes"] += self._base_bytes
                self._base_bytes = 0
        print(json.dumps({"stage": record.getMessage(), "seconds": seconds, **counts}), flush=True)


def count_doors(counter: Counter) -> None:
    """Every COPY, get and put from now on."""
    copy, get, put_new, put_if = (
        SnapshotConnection.copy_binary, S3ObjectStore.get, S3ObjectStore.put_new, S3ObjectStore.put_if,
    )  # fmt: skip

    def counted_copy(self: SnapshotConnection, *arguments: Any, **named: Any) -> memoryview:
        rows = copy(self, *arguments, **named)
        counter.count("postgres_bytes", len(rows))
        return rows

    def counted_get(self: S3ObjectStore, key: str) -> Any:
        found = get(self, key)
        counter.count("s3_read_bytes", len(found.body) if found else 0, any(part in key for part in BASE))
        return found

    def counted(put: Callable[..., bool]) -> Callable[..., bool]:
        def counted_put(self: S3ObjectStore, key: str, body: bytes, *arguments: Any) -> bool:
            counter.count("s3_written_bytes", len(body))
            return put(self, key, body, *arguments)

        return counted_put

    for owner, name, counting in (
        (SnapshotConnection, "copy_binary", counted_copy),
        (S3ObjectStore, "get", counted_get),
        (S3ObjectStore, "put_new", counted(put_new)),
        (S3ObjectStore, "put_if", counted(put_if)),
    ):
        setattr(owner, name, counting)


def main() -> int:
    counter = Counter()
    count_doors(counter)
    logging.getLogger("waypost").addHandler(counter)
    logging.getLogger("waypost").setLevel(logging.INFO)
    return cli.main(["night"])


if __name__ == "__main__":
    sys.exit(main())
