"""What is ours, measured in a process of its own as the peers are in theirs."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from bench.commands import serve
from waypost.graph import reading
from waypost.graph.digests import changed_cells
from waypost.graph.facts import GraphRead
from waypost.graph.indexing import IdIndex
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import SessionLimits, open_snapshot
from waypost.graph.rows import SourceRows
from waypost.graph.schema import check_schema
from waypost.graph.state import to_tensors
from waypost.graph.store import PREFIX, list_nights, load_digests, load_night
from waypost.graph.tensors import Csr, GraphTensors, csr_from_pairs, transposed
from waypost.graph.texts import Texts
from waypost.graph.updating import build
from waypost.memory import share_one_heap
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess

LIMITS = SessionLimits()  # the same connections and server workers, whatever is read


class CpuClock(logging.Handler):
    """The processor time at which each stage of a reading ended."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.at[record.getMessage()] = time.process_time()


CPU = CpuClock()


@dataclass(frozen=True, eq=False)
class WholeRead:
    tensors: GraphTensors
    read_seconds: float
    read_cpu_seconds: float
    postgres_bytes: int


@dataclass(frozen=True, eq=False)
class NightRead:
    read: GraphRead
    kept_cpu_seconds: float


def read_interactions(dsn: str) -> SourceRows:
    with open_snapshot(dsn, LIMITS) as sessions:
        wires = [wire for wire in check_schema(sessions.first, DEFAULT) if wire.name == "interactions"]
        return reading.read_whole(sessions, wires)["interactions"].rows


def describe_rows(rows: SourceRows) -> dict[str, Any]:
    user, post = (rows.columns[name].astype(np.int64) for name in ("user_id", "post_id"))
    return {"rows": rows.count, "user_sum": int(user.sum()), "post_sum": int(post.sum())}


def read_whole(dsn: str) -> WholeRead:
    """The data half without a cache: connect to tensors."""
    started, cpu = time.perf_counter(), time.process_time()
    with open_snapshot(dsn, LIMITS) as sessions:
        changes = reading.read_whole(sessions, check_schema(sessions.first, DEFAULT))
        postgres_bytes = sessions.bytes_read
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    return WholeRead(to_tensors(build(changes, DEFAULT), DEFAULT), seconds, cpu_seconds, postgres_bytes)


def describe_whole(found: WholeRead) -> dict[str, Any]:
    facts = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "tensors"}
    interactions = found.tensors.interactions
    edges = bytes_of(interactions) + sum(bytes_of(csr) for csr in both_ways(found.tensors))
    return {
        **facts,
        "edge_tensors_bytes": edges,
        "tensors_bytes": edges + bytes_of(found.tensors) - bytes_of(interactions),
    }


def both_ways(tensors: GraphTensors) -> tuple[Csr, Csr]:
    user, post = tensors.interactions.user, tensors.interactions.post
    return csr_from_pairs(user, post, tensors.num_users), csr_from_pairs(post, user, tensors.num_posts)


def bytes_of(value: Any) -> int:
    """Of all arrays in it."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Texts):
        return value.data.nbytes + value.offsets.nbytes
    return sum(bytes_of(getattr(value, field.name)) for field in fields(value)) if is_dataclass(value) else 0


def read_night(dsn: str, bucket: str, access: Mapping[str, Any]) -> NightRead:
    """The data half as a night does it: with the cache, and keeping it."""
    read = reading.read_graph(dsn, _store(bucket, access), DEFAULT, LIMITS)
    return NightRead(read, CPU.at["tensors kept"] - CPU.at["tensors built"])


def describe_night(found: NightRead) -> dict[str, Any]:
    costs = asdict(found.read.costs)
    stages = costs.pop("seconds")
    interactions = len(found.read.tensors.interactions)
    return {**costs, "stages": stages, "kept_cpu_seconds": found.kept_cpu_seconds, "interactions": interactions}


def read_changes(dsn: str, bucket: str, access: Mapping[str, Any]) -> float:
    """What a night with a cache asks of Postgres, and nothing else: connect, digests, changed rows, parsed.

    Returns its processor time; that of fetching the last night's digests from S3 is not in it.
    """
    store = _store(bucket, access)
    night = load_night(store, list_nights(store)[0])
    assert night is not None
    before = load_digests(store, night)
    cpu = time.process_time()
    with open_snapshot(dsn, LIMITS) as sessions:
        wires = check_schema(sessions.first, DEFAULT)
        digests = reading._read_digests(sessions, wires, {name: digest.partition for name, digest in before.items()})
        cells = {name: changed_cells(before[name], digest) for name, digest in digests.items()}
        reading._read_changes(sessions, wires, digests, cells)
    return time.process_time() - cpu


def empty_cache(bucket: str, access: Mapping[str, Any]) -> None:
    store = _store(bucket, access)
    store.delete([info.key for info in store.list(f"{PREFIX}/")])


_stores: dict[str, S3ObjectStore] = {}


def _store(bucket: str, access: Mapping[str, Any]) -> S3ObjectStore:
    """Made once: loading boto3's model of S3 takes longer than a small night."""
    if bucket not in _stores:
        _stores[bucket] = S3ObjectStore(s3_client(AwsAccess(**access)), bucket)
    return _stores[bucket]


_columns: dict[str, Any] = {}


def load_columns(path: str) -> None:
    _columns.update(np.load(path))


Both = tuple[Any, Any, Csr, Csr]  # user ids, post ids, user -> post, post -> user


def build_both() -> Both:
    """From the ids of the nodes' tables, in any order, and the edges by app id."""
    users, posts = np.sort(_columns["users"]), np.sort(_columns["posts"])
    user, post = IdIndex(users).rows(_columns["user_id"]), IdIndex(posts).rows(_columns["post_id"])
    forward = csr_from_pairs(user, post, len(users))
    return users, posts, forward, transposed(forward, len(posts))


def describe_both(both: Both) -> dict[str, Any]:
    users, posts, forward, backward = both
    arrays = (users, posts, forward.indptr, forward.indices, backward.indptr, backward.indices)
    return {"sha256": _digest(arrays)}


def _digest(arrays: Iterable[Any]) -> str:
    return hashlib.sha256(b"".join(np.asarray(array, np.int64).tobytes() for array in arrays)).hexdigest()


def _nothing(_: Any) -> dict[str, Any]:
    return {}


if __name__ == "__main__":
    share_one_heap()  # as `waypost trainer` does
    logging.getLogger("waypost.graph.reading").setLevel(logging.INFO)
    logging.getLogger("waypost.graph.reading").addHandler(CPU)
    serve(
        {
            "interactions": (read_interactions, describe_rows),
            "whole": (read_whole, describe_whole),
            "night": (read_night, describe_night),
            "changes": (read_changes, lambda cpu_seconds: {"cpu_seconds": cpu_seconds}),
            "empty": (empty_cache, _nothing),
            "columns": (load_columns, _nothing),
            "both": (build_both, describe_both),
        }
    )
