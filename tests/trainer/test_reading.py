"""The night's graph on a real Postgres and a real S3: read once, found again, rebuilt when what is kept is damaged."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from waypost.errors import EmptyGraph, PostgresUnavailable
from waypost.graph.store import to_bytes
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess
from waypost.trainer.reading import read_graph

GRAPH = """
    INSERT INTO users (user_id) SELECT i FROM generate_series(1, 20) i;
    INSERT INTO posts (post_id, title) SELECT i, 'post about place ' || i % 3 FROM generate_series(1, 30) i;
    INSERT INTO interactions (user_id, post_id, kind)
        SELECT 1 + i % 20, 1 + i * 7 % 30, 'view' FROM generate_series(1, 100) i
"""


@pytest.fixture
def store(aws_access: AwsAccess, bucket: str) -> S3ObjectStore:
    return S3ObjectStore(s3_client(aws_access), bucket)


def execute(dsn: str, sql: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


def test_an_unchanged_graph_is_found_again_and_a_changed_one_is_another(
    postgres_dsn: str, postgres_reader_dsn: str, store: S3ObjectStore
) -> None:
    execute(postgres_dsn, GRAPH)
    first_name, first = read_graph(postgres_reader_dsn, store, 30)
    kept = {info.key: info.modified_at for info in store.list("tensors/")}
    again_name, again = read_graph(postgres_reader_dsn, store, 30)
    assert (again_name, to_bytes(again.tensors), again.tokenizer) == (
        first_name, to_bytes(first.tensors), first.tokenizer,
    )  # fmt: skip
    assert {info.key: info.modified_at for info in store.list("tensors/")} == kept
    execute(postgres_dsn, "DELETE FROM interactions WHERE user_id = 3")
    changed_name, changed = read_graph(postgres_reader_dsn, store, 30)
    assert changed_name != first_name
    assert len(changed.tensors.interactions) == 95


@pytest.mark.parametrize("path", ["graph.safetensors", "tokenizer.json", "manifest.json"])
def test_kept_tensors_that_were_damaged_are_rebuilt_byte_for_byte(
    postgres_dsn: str, store: S3ObjectStore, path: str
) -> None:
    execute(postgres_dsn, GRAPH)
    name, first = read_graph(postgres_dsn, store, 30)
    key = f"tensors/{name}/{path}"
    whole = store.get(key)
    assert whole is not None
    store.put_if(key, whole.body[: len(whole.body) // 2], whole.etag)
    _, again = read_graph(postgres_dsn, store, 30)
    assert to_bytes(again.tensors) == to_bytes(first.tensors)
    healed = store.get(key)
    assert healed is not None
    assert healed.body == whole.body


def test_an_empty_database_keeps_nothing(postgres_dsn: str, store: S3ObjectStore) -> None:
    with pytest.raises(EmptyGraph):
        read_graph(postgres_dsn, store, 30)
    assert list(store.list("")) == []


def test_a_postgres_that_is_away_is_asked_three_times(store: S3ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PostgresUnavailable):
        read_graph("postgresql://nobody@127.0.0.1:9/nothing", store, 30)
    assert len([r for r in caplog.records if r.name == "waypost.trainer.reading" and r.levelname == "WARNING"]) == 2
