"""`waypost cache ls|verify|gc` over nights that really read Postgres; what verify finds, the next night heals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import psycopg2
import pytest

from waypost.cli import main
from waypost.graph.facts import GraphRead
from waypost.graph.listing import list_json, list_lines, read_listing
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import SessionLimits
from waypost.graph.reading import read_graph
from waypost.graph.retention import DAY_SECONDS, remove_expired
from waypost.graph.store import Night, ObjectEntry, load_night, load_tensors, manifest_key, parse_night
from waypost.graph.tensors import GraphTensors
from waypost.graph.texts import Texts
from waypost.graph.verifying import verify
from waypost.objects.bundle import save_bundle
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess, CacheSettings

LIMITS = SessionLimits(connections=2)
SOME_ROWS = """
    INSERT INTO users (user_id) SELECT generate_series(1, 60);
    INSERT INTO posts (post_id, author_id, title, body, created_at)
        SELECT p, p % 60 + 1, 'post ' || p,
               (SELECT string_agg(md5((p * 100 + w)::text), ' ') FROM generate_series(1, 13) AS w),
               '2025-01-01'::timestamptz + p * interval '1 h'
        FROM generate_series(1, 200) AS p;
    INSERT INTO tags (tag_id, name) SELECT t, 'tag ' || t FROM generate_series(1, 9) AS t;
    INSERT INTO post_tags (post_id, tag_id) SELECT p, p % 9 + 1 FROM generate_series(1, 200) AS p;
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT i % 60 + 1, i * 7 % 200 + 1, CASE i % 5 WHEN 0 THEN 'like' ELSE 'view' END,
               '2025-02-01'::timestamptz + i * interval '1 min'
        FROM generate_series(1, 4000) AS i
"""


@dataclass
class Nights:
    owner_dsn: str
    reader_dsn: str
    store: ObjectStore
    likes: int = 0

    def execute(self, sql: str) -> None:
        with closing(psycopg2.connect(self.owner_dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)

    def one(self) -> GraphRead:
        return read_graph(self.reader_dsn, self.store, DEFAULT, LIMITS)

    def another(self) -> GraphRead:
        """After one more like."""
        self.likes += 1
        self.execute(
            "INSERT INTO interactions VALUES"
            f" ({self.likes}, {self.likes}, 'like', '2025-03-01'::timestamptz + {self.likes} * interval '1 s')"
        )
        return self.one()

    def night(self, read: GraphRead) -> Night:
        night = load_night(self.store, read.fingerprint)
        assert night is not None
        return night

    def entry(self, read: GraphRead, part: str) -> ObjectEntry:
        return next(entry for entry in self.night(read).objects if entry.part == part)

    def replace(self, key: str, body: bytes | None) -> None:
        self.store.delete([key])
        if body is not None:
            assert self.store.put_new(key, body)

    def body(self, key: str) -> bytes:
        found = self.store.get(key)
        assert found is not None
        return found.body

    def keys(self) -> set[str]:
        return {info.key for info in self.store.list("")}

    def codes(self) -> list[tuple[str, str]]:
        return [(finding.code, finding.key) for finding in verify(self.store).findings]


@pytest.fixture
def nights(postgres_dsn: str, postgres_reader_dsn: str, object_store: ObjectStore) -> Nights:
    nights = Nights(postgres_dsn, postgres_reader_dsn, object_store)
    nights.execute(SOME_ROWS)
    return nights


@pytest.fixture
def memory_nights(postgres_dsn: str, postgres_reader_dsn: str) -> Nights:
    nights = Nights(postgres_dsn, postgres_reader_dsn, MemoryObjectStore())
    nights.execute(SOME_ROWS)
    return nights


def assert_same(one: GraphTensors, other: GraphTensors) -> None:
    for field in fields(GraphTensors):
        _assert_equal(getattr(one, field.name), getattr(other, field.name))


def _assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, Texts):
        assert [one.raw(row) for row in range(len(one))] == [other.raw(row) for row in range(len(other))]
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    elif hasattr(one, "__dataclass_fields__"):
        for name in one.__dataclass_fields__:
            _assert_equal(getattr(one, name), getattr(other, name))
    else:
        assert one == other


def flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


class TestLs:
    def test_a_base_and_its_deltas_newest_first_with_what_they_weigh(self, nights: Nights) -> None:
        base, first, second = nights.one(), nights.another(), nights.another()
        listed = {night.fingerprint: night for night in read_listing(nights.store, DEFAULT)}
        assert list(listed)[-1] == base.fingerprint or len({n.made_at for n in listed.values()}) == 1
        assert [listed[read.fingerprint].deltas for read in (base, first, second)] == [0, 1, 2]
        assert [listed[read.fingerprint].rows["interactions"] for read in (base, first, second)] == [4000, 4001, 4002]
        assert listed[base.fingerprint].own_bytes == listed[base.fingerprint].needed_bytes
        sizes = {info.key: info.size for info in nights.store.list("tensors/")}
        needed = [entry.key for entry in nights.night(second).objects]
        own = [key for key in needed if second.fingerprint in key]
        assert listed[second.fingerprint].needed_bytes == sum(sizes[key] for key in needed)
        assert listed[second.fingerprint].own_bytes == sum(sizes[key] for key in own)
        assert 0 < listed[second.fingerprint].own_bytes < listed[base.fingerprint].own_bytes

    def test_bits_are_told_of_bases_only(self, memory_nights: Nights) -> None:
        base, delta = memory_nights.one(), memory_nights.another()
        bits = {night.fingerprint: night.bits_per_interaction for night in read_listing(memory_nights.store, DEFAULT)}
        assert bits[base.fingerprint] == round(8 * memory_nights.entry(base, "edges").size / 4000, 2)
        assert bits[delta.fingerprint] is None

    def test_the_night_that_the_next_one_starts_from_is_marked(self, memory_nights: Nights) -> None:
        memory_nights.one()
        newest = memory_nights.another()
        weighted = replace(DEFAULT, weights=(("like", 2.0),))
        marked = [night.fingerprint for night in read_listing(memory_nights.store, DEFAULT) if night.is_next]
        assert marked == [newest.fingerprint]
        assert not any(night.is_next for night in read_listing(memory_nights.store, weighted))
        lines = list(list_lines(read_listing(memory_nights.store, DEFAULT)))
        assert lines[0].startswith(f"* {newest.fingerprint}")
        assert "base + 1 deltas" in lines[0]
        assert lines[1].startswith("  ")

    def test_a_manifest_that_cannot_be_read_hides_no_other(self, memory_nights: Nights) -> None:
        read = memory_nights.one()
        memory_nights.replace(manifest_key("foreign"), b'{"format": 1}')
        listed = json.loads(list_json(read_listing(memory_nights.store, DEFAULT)))["nights"]
        problems = {night["fingerprint"]: night["problem"] for night in listed}
        assert problems[read.fingerprint] == ""
        assert "format 1" in problems["foreign"]

    def test_an_empty_cache_says_so(self) -> None:
        assert list(list_lines(read_listing(MemoryObjectStore(), DEFAULT))) == ["the cache is empty"]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "object-missing": lambda body: None,
    "size-mismatch": lambda body: body[:-1],
    "digest-mismatch": flipped,
}


class TestVerify:
    def test_whole_nights_have_no_findings_and_each_object_is_fetched_once(self, nights: Nights) -> None:
        nights.one()
        newest = nights.another()
        found = verify(nights.store)
        assert found.findings == []
        objects = {info.key: info.size for info in nights.store.list("tensors/") if "manifest" not in info.key}
        assert (found.nights, found.objects, found.bytes) == (2, len(objects), sum(objects.values()))
        only = verify(nights.store, only_newest=True)
        assert (only.nights, only.objects) == (1, len(nights.night(newest).objects))

    @pytest.mark.parametrize("part", ["edges", "nodes", "texts", "delta", "digests"])
    @pytest.mark.parametrize("code", DAMAGES)
    def test_every_damage_is_found_and_the_next_night_reads_right(
        self, memory_nights: Nights, code: str, part: str
    ) -> None:
        memory_nights.one()
        read = memory_nights.another()
        key = memory_nights.entry(read, part).key
        memory_nights.replace(key, DAMAGES[code](memory_nights.body(key)))
        assert memory_nights.codes() == [(code, key)]
        healed = memory_nights.another()
        assert verify(memory_nights.store, only_newest=True).findings == []
        kept = load_tensors(memory_nights.store, healed.fingerprint)
        assert kept is not None
        assert_same(kept, healed.tensors)
        fresh = read_graph(memory_nights.reader_dsn, MemoryObjectStore(), DEFAULT, LIMITS)
        assert_same(healed.tensors, fresh.tensors)

    @pytest.mark.parametrize("part", ["edges", "texts", "delta", "digests"])
    @pytest.mark.parametrize("code", DAMAGES)
    def test_the_next_night_heals_though_nothing_changed_in_postgres(
        self, memory_nights: Nights, code: str, part: str
    ) -> None:
        memory_nights.one()
        read = memory_nights.another()
        key = memory_nights.entry(read, part).key
        memory_nights.replace(key, DAMAGES[code](memory_nights.body(key)))
        healed = memory_nights.one()
        assert healed.fingerprint == read.fingerprint
        kept = load_tensors(memory_nights.store, healed.fingerprint)
        assert kept is not None
        assert_same(kept, read.tensors)
        assert verify(memory_nights.store, only_newest=True).findings == []

    def test_damage_in_s3_is_found_and_healed_too(self, nights: Nights) -> None:
        read = nights.one()
        key = nights.entry(read, "edges").key
        nights.replace(key, flipped(nights.body(key)))
        assert nights.codes() == [("digest-mismatch", key)]
        healed = nights.another()
        assert verify(nights.store, only_newest=True).findings == []
        kept = load_tensors(nights.store, healed.fingerprint)
        assert kept is not None
        assert_same(kept, healed.tensors)

    def test_a_manifest_of_another_version_or_of_another_night_is_found_and_not_used(
        self, memory_nights: Nights
    ) -> None:
        read = memory_nights.one()
        manifest = memory_nights.body(manifest_key(read.fingerprint))
        memory_nights.replace(manifest_key("0moved"), manifest)
        memory_nights.replace(manifest_key(read.fingerprint), manifest.replace(b'"format": 2', b'"format": 3'))
        assert memory_nights.codes() == [
            ("manifest-unreadable", manifest_key("0moved")),
            ("manifest-unreadable", manifest_key(read.fingerprint)),
        ]
        assert load_tensors(memory_nights.store, read.fingerprint) is None
        again = memory_nights.one()
        assert_same(again.tensors, read.tensors)
        assert memory_nights.codes() == [("manifest-unreadable", manifest_key("0moved"))]

    @pytest.mark.parametrize("part", ["edges", "texts", "digests"])
    def test_a_whole_object_that_is_no_graph_is_found(self, memory_nights: Nights, part: str) -> None:
        read = memory_nights.one()
        night = memory_nights.night(read)
        nonsense = b"not safetensors"
        entry = memory_nights.entry(read, part)
        foreign = replace(entry, size=len(nonsense), sha256=hashlib.sha256(nonsense).hexdigest())
        objects = tuple(foreign if kept == entry else kept for kept in night.objects)
        memory_nights.replace(entry.key, nonsense)
        memory_nights.replace(manifest_key(read.fingerprint), replace(night, objects=objects).to_bytes())
        ((code, key),) = memory_nights.codes()
        assert (code, key.startswith(f"tensors/{read.fingerprint}/")) == ("object-undecodable", True)

    def test_a_night_whose_rows_are_not_those_of_its_digests_is_found(self, memory_nights: Nights) -> None:
        memory_nights.one()
        night = memory_nights.night(memory_nights.another())
        without_delta = tuple(entry for entry in night.objects if entry.part != "delta")
        memory_nights.replace(manifest_key(night.fingerprint), replace(night, objects=without_delta).to_bytes())
        (finding,) = verify(memory_nights.store).findings
        assert (finding.code, finding.key) == ("night-inconsistent", manifest_key(night.fingerprint))
        assert finding.what == "interactions has 4000 rows, its digests count 4001"

    def test_damaged_tokens_are_found(self, memory_nights: Nights) -> None:
        prefix = f"tensors/{memory_nights.one().fingerprint}/tokens"
        save_bundle(memory_nights.store, prefix, {"tokens.safetensors": b"123"}, {})
        assert memory_nights.codes() == []
        memory_nights.replace(f"{prefix}/tokens.safetensors", b"124")
        assert memory_nights.codes() == [("tokens-damaged", prefix)]

    def test_every_finding_says_what_to_do(self, memory_nights: Nights) -> None:
        read = memory_nights.one()
        memory_nights.replace(memory_nights.entry(read, "texts").key, None)
        (line,) = verify(memory_nights.store).lines()
        assert line.startswith("object-missing tensors/")
        assert "waypost night" in line


class TestGc:
    def test_old_nights_go_and_the_newest_is_loadable_as_before(self, nights: Nights) -> None:
        base, first, newest = nights.one(), nights.another(), nights.another()
        now = max(info.modified_at for info in nights.store.list("")) + 30 * DAY_SECONDS
        gone = {removal.key for removal in remove_expired(nights.store, CacheSettings(keep_nights=1), now)}
        assert {manifest_key(base.fingerprint), manifest_key(first.fingerprint)} <= gone
        assert not gone & nights.keys()
        kept = load_tensors(nights.store, newest.fingerprint)
        assert kept is not None
        assert_same(kept, newest.tensors)
        assert verify(nights.store).findings == []
        assert nights.one().costs.cache_written_bytes == 0

    def test_a_night_that_built_on_a_removed_one_keeps_a_base_of_its_own(self, memory_nights: Nights) -> None:
        """Another gc took the manifest while this night was reading."""
        previous = memory_nights.one()
        store = memory_nights.store

        class Meanwhile(MemoryObjectStore):
            """The same objects; the first object that is written finds a gc at work."""

            def __init__(self) -> None:
                super().__init__()
                self._objects = store._objects  # type: ignore[attr-defined]
                self.tidied = False

            def put_new(self, key: str, body: bytes) -> bool:
                if not self.tidied:
                    self.tidied = True
                    taken = [manifest_key(previous.fingerprint), *(e.key for e in entries)]
                    store.delete(taken)
                return super().put_new(key, body)

        entries = memory_nights.night(previous).objects
        read = replace(memory_nights, store=Meanwhile()).another()
        kept = load_tensors(store, read.fingerprint)
        assert kept is not None
        assert_same(kept, read.tensors)

    def test_a_night_with_the_content_of_an_older_one_becomes_the_newest(self, memory_nights: Nights) -> None:
        first = memory_nights.one()
        memory_nights.another()
        memory_nights.execute("DELETE FROM interactions WHERE created_at >= '2025-03-01'")
        again = memory_nights.one()
        assert again.fingerprint == first.fingerprint
        assert read_listing(memory_nights.store, DEFAULT)[0].fingerprint == first.fingerprint
        kept = load_tensors(memory_nights.store, first.fingerprint)
        assert kept is not None
        assert_same(kept, first.tensors)


class TestVerbs:
    @pytest.fixture
    def bucket_nights(
        self,
        postgres_dsn: str,
        postgres_reader_dsn: str,
        aws_access: AwsAccess,
        bucket: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Nights:
        for name, value in {
            "WAYPOST_BUCKET": bucket,
            "AWS_ENDPOINT_URL": aws_access.endpoint_url,
            "AWS_REGION": aws_access.region,
            "AWS_ACCESS_KEY_ID": aws_access.access_key_id,
            "AWS_SECRET_ACCESS_KEY": aws_access.secret_access_key,
        }.items():
            monkeypatch.setenv(name, str(value))
        nights = Nights(postgres_dsn, postgres_reader_dsn, S3ObjectStore(s3_client(aws_access), bucket))
        nights.execute(SOME_ROWS)
        return nights

    def test_ls_verify_and_gc_from_the_command_line(
        self, bucket_nights: Nights, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bucket_nights.one()
        newest = bucket_nights.another()
        assert main(["cache", "ls"]) == 0
        assert newest.fingerprint in capsys.readouterr().out
        assert main(["cache", "ls", "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["nights"]) == 2
        assert main(["cache", "verify"]) == 0
        assert capsys.readouterr().out.startswith("no findings: 2 nights")
        assert main(["cache", "gc", "--keep-nights", "1", "--keep-days", "0", "--dry-run"]) == 0
        assert capsys.readouterr().out == "would remove 0 objects, 0 bytes\n"
        key = bucket_nights.entry(newest, "delta").key
        bucket_nights.replace(key, None)
        assert main(["cache", "verify", "--newest"]) == 1
        assert capsys.readouterr().out.startswith(f"object-missing {key}")
        assert main(["cache", "verify", "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] is False
        assert [(finding["code"], finding["key"]) for finding in told["findings"]] == [("object-missing", key)]
        assert all(told["findings"][0][field] for field in ("what", "fix"))

    @pytest.mark.parametrize("wrong", [["--keep-nights", "0"], ["--keep-days", "-1"], ["--keep-days", "nan"]])
    def test_gc_refuses_to_keep_nothing(self, wrong: list[str]) -> None:
        with pytest.raises(SystemExit) as refused:
            main(["cache", "gc", *wrong])
        assert refused.value.code == 2

    def test_a_wrong_setting_of_the_cache_is_told(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("WAYPOST_CACHE_KEEP_NIGHTS", "0")
        assert main(["cache", "gc"]) == 78
        assert "WAYPOST_CACHE_KEEP_NIGHTS" in capsys.readouterr().err


def test_a_manifest_is_parsed_as_it_was_written(memory_nights: Nights) -> None:
    night = memory_nights.night(memory_nights.one())
    assert parse_night(night.to_bytes(), "here") == night
