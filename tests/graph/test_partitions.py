"""A row's cell is the same by Postgres and by numpy, and a condition selects the rows of its cells and no others."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Literal

import numpy as np
import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.graph.copy_format import parse_rows
from waypost.graph.partitions import (
    LARGEST_MICROSECONDS,
    LARGEST_WIDTH,
    MIN_CELL_ROWS,
    NO_CELL,
    POSTGRES_EPOCH_MICROSECONDS,
    TARGET_CELLS,
    Partition,
    choose_partition,
)
from waypost.graph.postgres import SessionLimits, SnapshotConnection, open_snapshot
from waypost.graph.tensors import NO_TIME, Int64Array

LOWEST, HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
# Postgres' own range of timestamptz: 4714-11-24 BC up to, and without, 294277-01-01 (src/include/datatype/timestamp.h).
FIRST_TIME, END_OF_TIME = -211_813_488_000_000_000, 9_223_371_331_200_000_000  # microseconds since 2000-01-01
YEAR_ONE, YEAR_9999 = -63_082_281_600_000_000, 252_455_529_600_000_000  # its first day, its last
SECOND, DAY, YEAR = 10**6, 86_400 * 10**6, 31_556_952 * 10**6
MARKED_TIMES = [
    FIRST_TIME,
    FIRST_TIME + 1,
    END_OF_TIME - 1,
    *(-POSTGRES_EPOCH_MICROSECONDS + delta for delta in (-1, 0, 1)),
    *(century * 100 * YEAR + delta for century in (-40, -20, -1, 1, 100, 2_900) for delta in (-1, 0, 1)),
    *(edge + delta for edge in (YEAR_ONE, YEAR_9999) for delta in (-DAY, -SECOND, -1, 0, 1, SECOND, DAY)),
    *(edge + delta for edge in (-DAY, -SECOND, 0, SECOND, DAY, 2**32, 2**40) for delta in (-1, 0, 1)),
]
WIDTHS = [SECOND << doubling for doubling in (0, 1, 5, 12, 20, 27, 30, 31)]
SHIFTS = [0, 1, 5, 17, 31, 32, 45, 60]


def some_times(seed: int, count: int = 400) -> list[int]:
    """Microseconds since 2000, Postgres' own count: dense in our days, thin in all the others, and every edge."""
    choose = random.Random(seed)
    near = [choose.randrange(-3 * DAY, 3 * DAY) for _ in range(count)]
    far = [choose.randrange(*choose.choice([(FIRST_TIME, END_OF_TIME), (YEAR_ONE, YEAR_9999)])) for _ in range(count)]
    bins = [choose.choice(WIDTHS) * choose.randrange(-2_000, 2_000) + choose.choice((-1, 0, 1)) for _ in range(count)]
    whole = [*near, *far, *(time for time in bins if FIRST_TIME <= time < END_OF_TIME)]
    return [*MARKED_TIMES, *whole, *choose.sample(whole, 50)]


def some_keys(seed: int, count: int = 400) -> list[int]:
    choose = random.Random(seed)
    near_powers = [sign * 2**bit + d for sign in (1, -1) for bit in (0, 1, 31, 32, 61, 62) for d in (-1, 0, 1)]
    far = [choose.randrange(LOWEST, HIGHEST) for _ in range(count)]
    near = [choose.randrange(-99, 99) for _ in range(count)]
    return [LOWEST, LOWEST + 1, HIGHEST, HIGHEST - 1, *near_powers, *far, *near]


class Rows:
    """One table in one snapshot: `row` counts from 0 in the order of the values given."""

    def __init__(self, connection: SnapshotConnection, values: Int64Array) -> None:
        self.connection, self.values = connection, values

    def server_cells(self, partition: Partition) -> Int64Array:
        cells = parse_rows(
            self.connection.copy_binary(f"SELECT row, {partition.sql()} AS cell FROM rows_of_a_source"),
            {"row": ">i4", "cell": ">i8"},
        ).fixed
        found = np.zeros(len(self.values), np.int64)
        found[cells["row"]] = partition.from_wire(cells["cell"])
        return found

    def selected(self, condition: str) -> list[int]:
        found = self.connection.fetch(f"SELECT row FROM rows_of_a_source AS app WHERE {condition}")
        return sorted(row for (row,) in found)


def fill(dsn: str, column: str, type_name: str, literals: Sequence[str]) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE rows_of_a_source (row int NOT NULL, {column} {type_name})")
        listed = ",".join(f"({row}, {literal})" for row, literal in enumerate(literals))
        cursor.execute(f"INSERT INTO rows_of_a_source VALUES {listed}")


@pytest.fixture
def timed(postgres_dsn: str) -> Iterator[Rows]:
    """Times as the wire has them: a missing one is -infinity, and the app may have written infinity itself."""
    times = some_times(1)
    literals = [f"'2000-01-01 00:00:00+00'::timestamptz + {_interval(time)}" for time in times]
    endless = ["'infinity'", "'-infinity'", "coalesce(NULL::timestamptz, '-infinity')"]
    fill(postgres_dsn, "created_at", "timestamptz", [*literals, *endless])
    unix = np.append(_unix(np.array(times, np.int64)), [NO_TIME] * len(endless))
    with open_snapshot(postgres_dsn, SessionLimits(connections=1)) as sessions:
        yield Rows(sessions.first, unix)


@pytest.fixture
def keyed(postgres_dsn: str) -> Iterator[Rows]:
    keys = some_keys(2)
    fill(postgres_dsn, "user_id", "bigint", [f"'{key}'" for key in keys])
    with open_snapshot(postgres_dsn, SessionLimits(connections=1)) as sessions:
        yield Rows(sessions.first, np.array(keys, np.int64))


def _interval(microseconds: int) -> str:
    days, rest = divmod(microseconds, DAY)
    return f"make_interval(days => {days}) + {rest} * interval '1 microsecond'"


def _unix(times: Int64Array) -> Int64Array:
    return times + POSTGRES_EPOCH_MICROSECONDS


def partitions_of(by: Literal["time", "key"]) -> list[Partition]:
    if by == "time":
        return [Partition("time", "created_at", width) for width in WIDTHS]
    return [Partition("key", "user_id", 1 << shift) for shift in SHIFTS]


def some_cells(cells: Int64Array, seed: int) -> list[Int64Array]:
    """The first, the last, one in the middle, some, all."""
    distinct = np.unique(cells)
    choose = np.random.default_rng(seed)
    some = np.sort(choose.choice(distinct, max(1, len(distinct) // 3), replace=False))
    return [distinct[:1], distinct[-1:], distinct[len(distinct) // 2 :][:1], some, distinct]


class TestByTime:
    def test_postgres_and_numpy_name_the_same_cell_in_every_year(self, timed: Rows) -> None:
        for partition in partitions_of("time"):
            np.testing.assert_array_equal(
                timed.server_cells(partition), partition.cells_of(timed.values), str(partition)
            )

    def test_a_condition_selects_exactly_the_rows_of_its_cells(self, timed: Rows) -> None:
        for partition in partitions_of("time"):
            cells = partition.cells_of(timed.values)
            for chosen in some_cells(cells, seed=3):
                wanted = np.flatnonzero(np.isin(cells, chosen)).tolist()
                assert timed.selected(partition.condition(chosen)) == wanted, (partition, chosen)

    def test_rows_without_a_time_share_a_cell_with_times_that_no_app_means(self, timed: Rows) -> None:
        selected = timed.values[timed.selected(Partition("time", "created_at", DAY).condition(np.array([NO_CELL])))]
        assert (selected == NO_TIME).sum() == 3
        since_2000 = selected[selected != NO_TIME] - POSTGRES_EPOCH_MICROSECONDS
        assert ((since_2000 < -1_998 * YEAR) | (since_2000 > 7_998 * YEAR)).all()

    def test_an_envelope_holds_for_all_rows_of_its_cells(self, timed: Rows) -> None:
        for partition in partitions_of("time"):
            cells = partition.cells_of(timed.values)
            for chosen in some_cells(cells, seed=5):
                wanted = np.flatnonzero(np.isin(cells, chosen)).tolist()
                assert set(wanted) <= set(timed.selected(partition.envelope(chosen))), (partition, chosen)


class TestByKey:
    def test_postgres_and_numpy_name_the_same_cell_up_to_both_ends_of_bigint(self, keyed: Rows) -> None:
        for partition in partitions_of("key"):
            np.testing.assert_array_equal(
                keyed.server_cells(partition), partition.cells_of(keyed.values), str(partition)
            )

    def test_a_condition_selects_exactly_the_rows_of_its_cells(self, keyed: Rows) -> None:
        for partition in partitions_of("key"):
            cells = partition.cells_of(keyed.values)
            for chosen in some_cells(cells, seed=4):
                wanted = np.flatnonzero(np.isin(cells, chosen)).tolist()
                assert keyed.selected(partition.condition(chosen)) == wanted, (partition, chosen)


VALUES = st.one_of(st.integers(FIRST_TIME, END_OF_TIME - 1), st.integers(-(2**40), 2**40))


class TestCoarsening:
    @given(st.lists(VALUES, max_size=30), st.integers(0, 30))
    @settings(deadline=None)
    def test_cells_of_time_grow_as_their_rows_do(self, times: list[int], doublings: int) -> None:
        partition = Partition("time", "created_at", SECOND << doublings)
        values = np.append(_unix(np.array(times, np.int64)), NO_TIME)
        grown = partition.coarsened(partition.cells_of(values))
        np.testing.assert_array_equal(grown, partition.coarser().cells_of(values))

    @given(st.lists(st.integers(LOWEST, HIGHEST), max_size=30), st.integers(0, 59))
    @settings(deadline=None)
    def test_cells_of_keys_grow_as_their_rows_do(self, keys: list[int], shift: int) -> None:
        partition = Partition("key", "user_id", 1 << shift)
        values = np.array(keys, np.int64)
        grown = partition.coarsened(partition.cells_of(values))
        np.testing.assert_array_equal(grown, partition.coarser().cells_of(values))

    def test_no_time_stays_a_cell_of_its_own_however_coarse(self) -> None:
        partition, cells = Partition("time", "created_at", SECOND), np.array([NO_CELL, -1, 0, 1])
        while partition.width < LARGEST_MICROSECONDS:
            partition, cells = partition.coarser(), partition.coarsened(cells)
        assert cells.tolist() == [NO_CELL, -1, 0, 0]


class TestChoice:
    @given(st.sampled_from(["time", "key"]), st.lists(st.one_of(VALUES, st.integers(0, 3_000)), max_size=300))
    @settings(deadline=None)
    def test_cells_are_few_enough_or_as_wide_as_they_get(self, by: Any, numbers: list[int]) -> None:
        values = _unix(np.array(numbers, np.int64)) if by == "time" else np.array(numbers, np.int64)
        partition = choose_partition(by, "created_at" if by == "time" else "user_id", values)
        most = min(TARGET_CELLS, max(1, len(values) // MIN_CELL_ROWS))
        cells = len(np.unique(partition.cells_of(values)))
        assert cells <= most or partition.width == (LARGEST_MICROSECONDS if by == "time" else LARGEST_WIDTH)

    def test_the_finest_are_taken_that_are_few_enough(self) -> None:
        times = _unix(np.arange(100_000) * 60 * SECOND)
        partition = choose_partition("time", "created_at", times)
        finer = Partition("time", "created_at", partition.width // 2)
        assert len(np.unique(partition.cells_of(times))) <= TARGET_CELLS < len(np.unique(finer.cells_of(times)))

    def test_no_rows_at_all_have_a_partition_too(self) -> None:
        assert choose_partition("key", "user_id", np.zeros(0, np.int64)) == Partition("key", "user_id", 1)


def test_every_instant_is_written_so_that_postgres_reads_it_back(postgres_dsn: str) -> None:
    """Cells' own first microseconds, BC and beyond the year 10,000 included."""
    starts = [*MARKED_TIMES, *range(-5 * DAY, 5 * DAY, DAY // 7)]
    partition = Partition("time", "created_at", 1)
    literals = ",".join(f"{partition._instant(start)}::timestamptz" for start in starts)
    with open_snapshot(postgres_dsn, SessionLimits(connections=1)) as sessions:
        sent = sessions.first.copy_binary(f"SELECT unnest(ARRAY[{literals}]) AS start")
    np.testing.assert_array_equal(parse_rows(sent, {"start": ">i8"}).fixed["start"], starts)
