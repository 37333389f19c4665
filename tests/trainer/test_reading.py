"""The night's graph on a real Postgres and a real S3: read once, brought up to date, rebuilt when what is kept is
damaged, and never kept when Postgres fails."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import psycopg2
import pytest

from waypost.errors import EmptyGraph, PostgresUnavailable
from waypost.graph.encoding import encode_state
from waypost.graph.facts import GraphRead
from waypost.graph.mapping import DEFAULT
from waypost.graph.store import load_base, load_night, load_tensors
from waypost.graph.updating import update
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess, TrainerSettings
from waypost.trainer.reading import read_patiently

GRAPH = """
    INSERT INTO users (user_id) SELECT i FROM generate_series(1, 200) i;
    INSERT INTO posts (post_id, title, created_at)
        SELECT i, 'post about place ' || i % 3, '2026-01-01'::timestamptz + i * interval '1 day'
        FROM generate_series(1, 300) i;
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT 1 + i % 200, 1 + i * 7 % 300, 'view', '2026-02-01'::timestamptz + i * interval '1 hour'
        FROM generate_series(1, 4000) i
"""
SETTINGS = TrainerSettings(statement_timeout_seconds=30)


@pytest.fixture
def store(aws_access: AwsAccess, bucket: str) -> S3ObjectStore:
    return S3ObjectStore(s3_client(aws_access), bucket)


def execute(dsn: str, sql: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


def night(dsn: str, store: S3ObjectStore) -> GraphRead:
    return read_patiently(dsn, store, DEFAULT, SETTINGS)


def kept_bytes(store: S3ObjectStore, fingerprint: str) -> dict[str, bytes]:
    """What is kept of a night, put together."""
    kept = load_night(store, fingerprint)
    assert kept is not None
    state, changes = load_base(store, kept)
    return encode_state(update(state, changes, kept.mapping))


def test_an_unchanged_graph_is_found_again_and_moves_nothing_but_digests(
    postgres_dsn: str, postgres_reader_dsn: str, store: S3ObjectStore
) -> None:
    execute(postgres_dsn, GRAPH)
    first = night(postgres_reader_dsn, store)
    kept = {info.key: info.modified_at for info in store.list("tensors/")}
    again = night(postgres_reader_dsn, store)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.tensors.interactions.post, first.tensors.interactions.post)
    assert {info.key: info.modified_at for info in store.list("tensors/")} == kept
    assert again.costs.cache_written_bytes == 0


def test_a_small_change_moves_a_small_part_and_is_kept_as_a_delta(
    postgres_dsn: str, postgres_reader_dsn: str, store: S3ObjectStore
) -> None:
    execute(postgres_dsn, GRAPH)
    first = night(postgres_reader_dsn, store)
    execute(postgres_dsn, "DELETE FROM interactions WHERE created_at > '2026-07-16'")
    second = night(postgres_reader_dsn, store)
    assert len(second.tensors.interactions) < len(first.tensors.interactions) == 4000
    assert second.costs.postgres_bytes < first.costs.postgres_bytes / 4
    kept = load_night(store, second.fingerprint)
    assert kept is not None
    assert len(kept.deltas) == 1


def test_what_was_kept_is_what_was_read(postgres_dsn: str, store: S3ObjectStore) -> None:
    execute(postgres_dsn, GRAPH)
    night(postgres_dsn, store)
    execute(postgres_dsn, "UPDATE interactions SET kind = 'like' WHERE created_at > '2026-07-16'")
    read = night(postgres_dsn, store)
    kept = load_tensors(store, read.fingerprint)
    assert kept is not None
    assert kept.kinds == read.tensors.kinds == ("like", "view")
    assert np.array_equal(kept.interactions.kind, read.tensors.interactions.kind)
    assert list(kept.post_texts) == list(read.tensors.post_texts)


@pytest.mark.parametrize("part", ["edges", "nodes", "texts", "digests", "manifest"])
def test_kept_tensors_that_were_damaged_are_rebuilt_byte_for_byte(
    postgres_dsn: str, store: S3ObjectStore, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    execute(postgres_dsn, GRAPH)
    fingerprint = night(postgres_dsn, store).fingerprint
    whole = kept_bytes(store, fingerprint)
    (key,) = (info.key for info in store.list("tensors/") if f"/{part}" in info.key)
    found = store.get(key)
    assert found is not None
    store.put_if(key, found.body[: len(found.body) // 2], found.etag)
    assert night(postgres_dsn, store).fingerprint == fingerprint
    assert any("cache" in record.message for record in caplog.records if record.levelname == "WARNING")
    assert kept_bytes(store, fingerprint) == whole


def test_an_empty_database_keeps_nothing(postgres_dsn: str, store: S3ObjectStore) -> None:
    with pytest.raises(EmptyGraph):
        night(postgres_dsn, store)
    assert list(store.list("")) == []


def test_a_postgres_that_is_away_is_asked_three_times(store: S3ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PostgresUnavailable):
        night("postgresql://nobody@127.0.0.1:9/nothing", store)
    assert len([r for r in caplog.records if r.name == "waypost.trainer.reading" and r.levelname == "WARNING"]) == 2
