"""Digests tell every change apart from none, wherever it is and however the rows lie."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.graph.digests import Digests, changed_cells, coarsened, fingerprint_of, read_digests
from waypost.graph.mapping import DEFAULT, Mapping, Source
from waypost.graph.partitions import MOST_CELLS, POSTGRES_EPOCH_MICROSECONDS, Partition
from waypost.graph.postgres import SessionLimits, open_snapshot
from waypost.graph.schema import check_schema

HOUR = 3_600_000_000  # microseconds
BY_HOUR, BY_DAY = Partition("time", "created_at", HOUR), Partition("time", "created_at", 24 * HOUR)
BY_POST, BY_POSTS = Partition("key", "post_id", 1), Partition("key", "post_id", 64)
BY_USER, BY_TAG = Partition("key", "user_id", 1), Partition("key", "tag_id", 1)
SOME_ROWS = """
    INSERT INTO users (user_id) SELECT generate_series(1, 30);
    INSERT INTO posts (post_id, author_id, title, body, created_at)
        SELECT p, p % 30 + 1, 'title ' || p, 'body', '2025-01-01 00:00:00+00'::timestamptz + p * interval '1 h'
        FROM generate_series(1, 50) AS p;
    INSERT INTO tags (tag_id, name) SELECT t, 'tag ' || t FROM generate_series(1, 9) AS t;
    INSERT INTO post_tags (post_id, tag_id) SELECT p, p % 9 + 1 FROM generate_series(1, 50) AS p;
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT i % 30 + 1, i % 50 + 1, 'view', '2025-02-01 00:30:00+00'::timestamptz + i * interval '1 h'
        FROM generate_series(1, 300) AS i
"""
FIRST_HOUR = (1_738_369_800_000_000 - POSTGRES_EPOCH_MICROSECONDS) // HOUR  # 2025-02-01 00:30 UTC


@dataclass
class App:
    dsn: str

    def execute(self, sql: str) -> None:
        with closing(psycopg2.connect(self.dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)

    def value(self, sql: str) -> object:
        with closing(psycopg2.connect(self.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            found = cursor.fetchone()
            assert found is not None
            return found[0]

    def digests(self, source: str, partition: Partition, mapping: Mapping = DEFAULT, workers: int = 0) -> Digests:
        with open_snapshot(self.dsn, SessionLimits(connections=1)) as sessions:
            (wire,) = [wire for wire in check_schema(sessions.first, mapping) if wire.name == source]
            return read_digests(sessions.first, wire, partition, workers)

    def changed(self, source: str, partition: Partition, sql: str) -> list[int]:
        before = self.digests(source, partition)
        self.execute(sql)
        return [int(cell) for cell in changed_cells(before, self.digests(source, partition))]


@pytest.fixture
def app(postgres_dsn: str) -> App:
    app = App(postgres_dsn)
    app.execute(SOME_ROWS)
    return app


ONE_ROW = "WHERE user_id = 6 AND post_id = 6 AND created_at = '2025-02-01 05:30:00+00'"
CHANGES: dict[str, tuple[str, list[int]]] = {
    "a new row": ("INSERT INTO interactions VALUES (1, 1, 'view', '2025-02-01 07:00+00')", [7]),
    "a new row before all others": ("INSERT INTO interactions VALUES (1, 1, 'view', '2025-01-31 23:59+00')", [-1]),
    "a deleted row": (f"DELETE FROM interactions {ONE_ROW}", [5]),
    "another kind": (f"UPDATE interactions SET kind = 'like' {ONE_ROW}", [5]),
    "no kind": (f"UPDATE interactions SET kind = NULL {ONE_ROW}", [5]),
    "another user": (f"UPDATE interactions SET user_id = 7 {ONE_ROW}", [5]),
    "another post": (f"UPDATE interactions SET post_id = 7 {ONE_ROW}", [5]),
    "user and post exchanged": (f"UPDATE interactions SET user_id = 8, post_id = 9 {ONE_ROW}", [5]),
    "a microsecond later": (f"UPDATE interactions SET created_at = created_at + '1 us' {ONE_ROW}", [5]),
    "three hours later": (f"UPDATE interactions SET created_at = created_at + '3 h' {ONE_ROW}", [5, 8]),
    "a repeated row": (
        f"INSERT INTO interactions SELECT user_id, post_id, kind, created_at FROM interactions {ONE_ROW}",
        [5],
    ),
    "one in place of another": (f"UPDATE interactions SET user_id = 9, post_id = 9, kind = 'share' {ONE_ROW}", [5]),
    "everything gone": ("DELETE FROM interactions", list(range(1, 301))),
    "nothing": ("UPDATE interactions SET user_id = user_id, updated_at = now() + '1 day'", []),
}


class TestEveryKindOfChange:
    @pytest.mark.parametrize("what", CHANGES)
    def test_exactly_the_cells_of_the_changed_rows_are_found(self, app: App, what: str) -> None:
        sql, hours = CHANGES[what]
        assert app.changed("interactions", BY_HOUR, sql) == [FIRST_HOUR + hour for hour in hours]

    def test_a_row_that_loses_its_time_leaves_one_cell_for_another(self, app: App) -> None:
        changed = app.changed("interactions", BY_HOUR, f"UPDATE interactions SET created_at = NULL {ONE_ROW}")
        assert changed == [np.iinfo(np.int64).min, FIRST_HOUR + 5]

    @pytest.mark.parametrize(
        ("source", "partition", "sql", "cells"),
        [
            ("posts", BY_POST, "UPDATE posts SET title = title || '.' WHERE post_id = 5", [5]),
            ("posts", BY_POST, "UPDATE posts SET body = NULL WHERE post_id = 5", [5]),
            ("posts", BY_POST, "UPDATE posts SET author_id = NULL WHERE post_id = 5", [5]),
            ("posts", BY_POST, "UPDATE posts SET author_id = 29 WHERE post_id = 5", [5]),
            ("posts", BY_POST, "UPDATE posts SET created_at = NULL WHERE post_id = 5", [5]),
            ("posts", BY_POST, "UPDATE posts SET title = 'b', body = 'a' WHERE post_id = 5", [5]),
            ("users", BY_USER, "INSERT INTO users VALUES (-3)", [-3]),
            ("users", BY_USER, "DELETE FROM users WHERE user_id = 4", [4]),
            ("tags", BY_TAG, "UPDATE tags SET name = 'tag 7 ' WHERE tag_id = 7", [7]),
            ("tags", BY_TAG, "UPDATE tags SET name = NULL WHERE tag_id = 7", [7]),
            ("post_tags", BY_POST, "UPDATE post_tags SET tag_id = 9 WHERE post_id = 9", [9]),
            ("post_tags", BY_POST, "DELETE FROM post_tags WHERE post_id = 9", [9]),
        ],
    )
    def test_so_are_those_of_every_other_source(
        self, app: App, source: str, partition: Partition, sql: str, cells: list[int]
    ) -> None:
        assert app.changed(source, partition, sql) == cells

    def test_text_that_only_moves_between_title_and_body_is_a_change_when_it_reads_otherwise(self, app: App) -> None:
        app.execute("UPDATE posts SET title = 'ab', body = 'c' WHERE post_id = 5")
        assert app.changed("posts", BY_POST, "UPDATE posts SET title = 'a', body = 'bc' WHERE post_id = 5") == [5]


class TestMultiset:
    def test_the_order_of_the_rows_does_not_matter(self, app: App) -> None:
        before = app.digests("interactions", BY_DAY)
        app.execute(
            "CREATE TEMP TABLE shuffled AS SELECT * FROM interactions ORDER BY hashint8(post_id * 7 + user_id);"
            " DELETE FROM interactions; INSERT INTO interactions SELECT * FROM shuffled ORDER BY created_at DESC"
        )
        assert not len(changed_cells(before, app.digests("interactions", BY_DAY)))

    @pytest.mark.parametrize("copies", [1, 2, 3, 256])
    def test_every_repetition_counts(self, app: App, copies: int) -> None:
        row = "1, 1, 'view', '2025-02-01 00:10:00+00'::timestamptz"
        sql = f"INSERT INTO interactions SELECT {row} FROM generate_series(1, {copies})"
        assert app.changed("interactions", BY_HOUR, sql) == [FIRST_HOUR]

    def test_two_rows_that_exchange_their_posts_are_a_change(self, app: App) -> None:
        app.execute(
            "INSERT INTO interactions VALUES (1, 2, 'x', '2026-01-01 00:00+00'), (3, 4, 'x', '2026-01-01 00:00+00')"
        )
        sql = "UPDATE interactions SET post_id = 6 - post_id WHERE kind = 'x'"
        assert len(app.changed("interactions", BY_HOUR, sql)) == 1

    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_total_is_the_same_for_any_partition_and_any_number_of_workers(self, app: App, workers: int) -> None:
        cuts = [BY_HOUR, BY_DAY, BY_POST, BY_POSTS, BY_USER]
        digests = [app.digests("interactions", cut, workers=workers) for cut in cuts]
        assert len({len(digest.cells) for digest in digests}) == len(cuts)
        assert {digest.total() for digest in digests} == {digests[0].total()}
        assert digests[0].total()[:2] == (300, 300)

    def test_rows_without_an_id_are_counted_and_not_summed(self, app: App) -> None:
        def nulled(source: Source) -> Source:
            select = "SELECT nullif(user_id, 6) AS user_id, post_id, kind, created_at FROM interactions"
            return replace(source, select=select) if source.name == "interactions" else source

        mapping = Mapping(tuple(nulled(source) for source in DEFAULT.sources))
        rows, complete, total = app.digests("interactions", BY_DAY, mapping).total()
        assert (rows, complete) == (300, 290)
        app.execute("DELETE FROM interactions WHERE user_id = 6")
        assert app.digests("interactions", BY_DAY).total() == (290, 290, total)

    def test_an_empty_source_has_no_cells(self, app: App) -> None:
        app.execute("DELETE FROM interactions")
        assert app.digests("interactions", BY_DAY).total() == (0, 0, 0)


class TestHash:
    """Postgres folds 64 bits of an int8 or a timestamp to 32 before it hashes them."""

    APART = 2**32 + 1  # microseconds, or between two keys
    EVEN = 2**33 + 4  # upper and lower half are even: adding APART changes both in their last bit

    def test_plain_hashes_of_postgres_do_not_tell_such_values_apart(self, app: App) -> None:
        """The control: were this to fail, the wire's hash could be simpler."""
        one, other = (f"'{number}'::int8" for number in (self.EVEN, self.EVEN + self.APART))
        assert app.value(f"SELECT hashint8extended({one}, 5) = hashint8extended({other}, 5)")
        one, other = (self.time(number) for number in (self.EVEN, self.EVEN + self.APART))
        assert app.value(
            f"SELECT timestamp_hash_extended({one}::timestamp, 5) = timestamp_hash_extended({other}::timestamp, 5)"
        )

    @staticmethod
    def time(microseconds: int) -> str:
        return f"('2000-01-01 00:00:00'::timestamp + {microseconds} * interval '1 us')"

    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("start", [0, EVEN, 788_918_400_000_000 // 2**33 * 2**33])
    def test_two_times_that_far_apart_are_two_rows(self, app: App, start: int, sign: int) -> None:
        partition = Partition("time", "created_at", 2**36 * 1_000_000)
        sums = []
        for time in (sign * start, sign * (start + self.APART)):
            app.execute(
                "DELETE FROM interactions;"
                f" INSERT INTO interactions VALUES (1, 1, 'view', {self.time(time)} AT TIME ZONE 'UTC')"
            )
            sums.append(app.digests("interactions", partition).total()[2])
        assert sums[0] != sums[1]

    def test_two_keys_that_far_apart_are_two_rows(self, app: App) -> None:
        sums = []
        for key in (self.EVEN, self.EVEN + self.APART):
            app.execute(f"DELETE FROM users; INSERT INTO users VALUES ({key})")
            sums.append(app.digests("users", Partition("key", "user_id", 2**61)).total()[2])
        assert sums[0] != sums[1]

    def test_a_value_in_another_column_is_another_row(self, app: App) -> None:
        sums = []
        for pair in ("7, 9", "9, 7"):
            app.execute(f"DELETE FROM interactions; INSERT INTO interactions VALUES ({pair}, 'view', NULL)")
            sums.append(app.digests("interactions", BY_USER).total()[2])
        assert sums[0] != sums[1]


@st.composite
def some_digests(draw: st.DrawFn, partition: Partition = BY_POST) -> Digests:
    cells = np.array(sorted(draw(st.sets(st.integers(-200, 200), max_size=20))), np.int64)
    rows = np.array(draw(st.lists(st.integers(1, 9), min_size=len(cells), max_size=len(cells))), np.int64)
    sums = draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(cells), max_size=len(cells)))
    return Digests(partition, cells, rows, rows, np.array(sums, np.uint64))


def facts_of(digests: Digests) -> dict[int, tuple[int, int]]:
    found = zip(digests.rows.tolist(), digests.sums.tolist(), strict=True)
    return dict(zip(digests.cells.tolist(), found, strict=True))


class TestComparison:
    @given(some_digests(), some_digests())
    @settings(deadline=None)
    def test_changed_cells_are_those_that_differ_came_or_went(self, old: Digests, new: Digests) -> None:
        before, after = facts_of(old), facts_of(new)
        wanted = sorted(cell for cell in before | after if before.get(cell) != after.get(cell))
        assert changed_cells(old, new).tolist() == wanted
        assert changed_cells(old, old).tolist() == []

    def test_many_cells_become_fewer_and_keep_their_totals(self) -> None:
        choose = np.random.default_rng(1)
        cells = np.sort(choose.choice(10**7, 3 * MOST_CELLS, replace=False)) - 5 * 10**6
        rows = choose.integers(1, 9, len(cells))
        sums = choose.integers(0, 2**64 - 1, len(cells), dtype=np.uint64)
        fine = Digests(BY_POST, cells, rows, rows - 1, sums)
        coarse = coarsened(fine)
        assert MOST_CELLS / 4 < len(coarse.cells) <= MOST_CELLS
        assert coarse.total() == fine.total()
        assert (np.diff(coarse.cells) > 0).all()
        shift = coarse.partition.width.bit_length() - 1
        cell = int(coarse.cells[100])
        assert coarse.rows[100] == rows[cells >> shift == cell].sum()
        assert coarse.sums[100] == sums[cells >> shift == cell].sum(dtype=np.uint64)

    def test_few_cells_stay_as_they_are(self) -> None:
        cells = np.arange(10)
        fine = Digests(BY_POST, cells, cells, cells, cells.astype(np.uint64))
        assert coarsened(fine) is fine

    def test_complete_rows_are_counted_in_the_cells_that_are_there(self) -> None:
        cells = np.array([1, 5, 9])
        digests = Digests(BY_POST, cells, cells * 2, cells, cells.astype(np.uint64))
        assert sum(digests.counts_in(np.array([1, 2, 9])).values()) == 10


class TestFingerprint:
    CELLS = np.array([1, 2])

    def some(self, **changes: object) -> Digests:
        digests = Digests(BY_POST, self.CELLS, self.CELLS, self.CELLS, self.CELLS.astype(np.uint64))
        return replace(digests, **changes)  # type: ignore[arg-type]

    def test_equal_content_has_one_name_however_it_is_cut(self) -> None:
        halves = self.some()
        whole = Digests(BY_POSTS, np.array([0]), np.array([3]), np.array([3]), np.array([3], np.uint64))
        names = {
            fingerprint_of(DEFAULT, version, {"users": d}) for d in (halves, whole) for version in (180_000, 180_004)
        }
        assert len(names) == 1
        assert len(names.pop()) == 32

    OTHERS: ClassVar[dict[str, Callable[[Digests], str]]] = {
        "a row": lambda d: fingerprint_of(DEFAULT, 180_000, {"users": replace(d, rows=d.rows + 1)}),
        "a row without an id": lambda d: fingerprint_of(
            DEFAULT, 180_000, {"users": replace(d, complete=d.complete - 1)}
        ),
        "a value": lambda d: fingerprint_of(DEFAULT, 180_000, {"users": replace(d, sums=d.sums + np.uint64(1))}),
        "a source": lambda d: fingerprint_of(DEFAULT, 180_000, {"posts": d}),
        "the server": lambda d: fingerprint_of(DEFAULT, 170_000, {"users": d}),
        "a weight": lambda d: fingerprint_of(replace(DEFAULT, weights=(("like", 2.0),)), 180_000, {"users": d}),
    }

    @pytest.mark.parametrize("what", OTHERS)
    def test_other_content_has_another(self, what: str) -> None:
        assert self.OTHERS[what](self.some()) != fingerprint_of(DEFAULT, 180_000, {"users": self.some()})
