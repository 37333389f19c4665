"""`load_directory` against a real Postgres: what is added and updated, and that a refusal leaves nothing behind."""

from __future__ import annotations

import gzip
import lzma
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from waypost.errors import GraphDirectoryError, PostgresUnavailable, SchemaError, SettingsError
from waypost.graph.directory import COLUMNS
from waypost.graph.loading import LOAD_LOCK, LoadReport, load_directory

TRAVEL = Path(__file__).parents[2].parent / "shared" / "data" / "travel"
WAIT_SECONDS = 30.0
USERS = "1\t2016-01-01 10:00:00\n2\t\\N\n"
POSTS = "10\t1\t2016-02-01 10:00:00\tLisbon\tby tram\n11\t\\N\t\\N\t\\N\t\\N\n"
TAGS = "100\tportugal\n"
POST_TAGS = "10\t100\n"
INTERACTIONS = "1\t10\tview\t2016-03-01 10:00:00\n2\t10\tlike\t\\N\n"


def a_graph(folder: Path, **rows: str | bytes) -> Path:
    """Two users, two posts, one tag; a table given by name has these rows instead."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "users": USERS,
        "posts": POSTS,
        "tags": TAGS,
        "post_tags": POST_TAGS,
        "interactions": INTERACTIONS,
        **rows,
    }
    for table, text in tables.items():
        header = "\t".join(COLUMNS[table]) + "\n"
        body = text.encode() if isinstance(text, str) else text
        (folder / f"{table}.tsv").write_bytes(header.encode() + body)
    return folder


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[Any]:
    """A second connection to the database that is loaded, every statement its own transaction."""
    with closing(psycopg2.connect(postgres_dsn, connect_timeout=10)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def fetch(database: Any, query: str) -> list[tuple[Any, ...]]:
    database.execute(query)
    return list(database.fetchall())


def counts(database: Any) -> dict[str, int]:
    return {table: fetch(database, f"SELECT count(*) FROM {table}")[0][0] for table in COLUMNS}


def added_and_updated(report: LoadReport) -> dict[str, tuple[int, int]]:
    return {table.table: (table.added, table.updated) for table in report.tables}


NOTHING = dict.fromkeys(COLUMNS, 0)


class TestWhatIsLoaded:
    def test_every_row_and_value_arrives(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        report = load_directory(postgres_dsn, a_graph(tmp_path))
        assert added_and_updated(report) == {
            "users": (2, 0), "tags": (1, 0), "posts": (2, 0), "post_tags": (1, 0), "interactions": (2, 0),
        }  # fmt: skip
        assert [table.read for table in report.tables] == [2, 1, 2, 1, 2]
        assert fetch(database, "SELECT post_id, author_id, title, body FROM posts ORDER BY 1") == [
            (10, 1, "Lisbon", "by tram"),
            (11, None, None, None),
        ]

    def test_null_times_stay_null(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        load_directory(postgres_dsn, a_graph(tmp_path))
        for table in ("users", "posts", "interactions"):
            assert fetch(database, f"SELECT count(*) FROM {table} WHERE created_at IS NULL") == [(1,)]

    def test_times_without_a_zone_are_utc_whatever_the_server_thinks(
        self, postgres_dsn: str, postgres_database: str, database: Any, tmp_path: Path
    ) -> None:
        name = postgres_database
        database.execute(
            f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'; ALTER DATABASE {name} SET datestyle = 'DMY'"
        )
        load_directory(postgres_dsn, a_graph(tmp_path, users="1\t2016-01-02 10:00:00.5\n2\t2016-01-02 10:00:00+02\n"))
        times = fetch(database, "SELECT (created_at AT TIME ZONE 'UTC')::text FROM users ORDER BY user_id")
        assert times == [("2016-01-02 10:00:00.5",), ("2016-01-02 08:00:00",)]

    def test_plain_gz_and_xz_and_any_order_of_columns(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        a_graph(tmp_path)
        for table, suffix, compress in (("users", ".gz", gzip.compress), ("posts", ".xz", lzma.compress)):
            plain = tmp_path / f"{table}.tsv"
            (tmp_path / f"{table}.tsv{suffix}").write_bytes(compress(plain.read_bytes()))
            plain.unlink()
        (tmp_path / "tags.tsv").write_text("name\ttag_id\nportugal\t100\n")
        load_directory(postgres_dsn, tmp_path)
        assert counts(database) == {"users": 2, "posts": 2, "tags": 1, "post_tags": 1, "interactions": 2}

    def test_windows_line_endings(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        a_graph(tmp_path)
        (tmp_path / "tags.tsv").write_bytes(b"tag_id\tname\r\n100\tportugal\r\n")
        load_directory(postgres_dsn, tmp_path)
        assert fetch(database, "SELECT name FROM tags") == [("portugal",)]

    def test_a_column_that_is_not_ours_is_ignored(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        a_graph(tmp_path)
        (tmp_path / "tags.tsv").write_text("tag_id\tcolour; DROP TABLE tags\tname\n100\tred\tportugal\n")
        load_directory(postgres_dsn, tmp_path)
        assert fetch(database, "SELECT tag_id, name FROM tags") == [(100, "portugal")]

    def test_files_with_a_header_alone_load_nothing(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        load_directory(postgres_dsn, a_graph(tmp_path, **dict.fromkeys(COLUMNS, "")))
        assert counts(database) == NOTHING

    def test_tags_and_post_tags_may_be_missing(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        a_graph(tmp_path)
        (tmp_path / "tags.tsv").unlink()
        (tmp_path / "post_tags.tsv").unlink()
        load_directory(postgres_dsn, tmp_path)
        assert counts(database) == {"users": 2, "posts": 2, "tags": 0, "post_tags": 0, "interactions": 2}

    def test_posts_without_tags_and_users_without_interactions(
        self, postgres_dsn: str, database: Any, tmp_path: Path
    ) -> None:
        load_directory(postgres_dsn, a_graph(tmp_path, post_tags="", interactions=""))
        assert counts(database) == {"users": 2, "posts": 2, "tags": 1, "post_tags": 0, "interactions": 0}

    def test_the_smallest_and_largest_ids(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        low, high = -(2**63), 2**63 - 1
        graph = a_graph(
            tmp_path,
            users=f"{low}\t\\N\n{high}\t\\N\n-1\t\\N\n",
            posts=f"{low}\t{high}\t\\N\t\\N\t\\N\n-1\t-1\t\\N\t\\N\t\\N\n",
            tags=f"{high}\tfar\n",
            post_tags=f"{low}\t{high}\n",
            interactions=f"{high}\t{low}\tview\t\\N\n-1\t-1\tview\t\\N\n",
        )
        load_directory(postgres_dsn, graph)
        assert fetch(database, "SELECT user_id, post_id FROM interactions ORDER BY 1") == [(-1, -1), (high, low)]
        assert fetch(database, "SELECT post_id, tag_id FROM post_tags") == [(low, high)]

    def test_emoji_escapes_and_a_megabyte_of_text(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        title, body = "Zürich 🏔️ → 東京", "é" * 500_000
        posts = f"10\t\\N\t\\N\t{title}\t{body}\n11\t\\N\t\\N\ttab\\there\tline\\nline\\\nline\\\\.\n"
        load_directory(postgres_dsn, a_graph(tmp_path, posts=posts))
        assert fetch(database, "SELECT title, body FROM posts ORDER BY post_id") == [
            (title, body),
            ("tab\there", "line\nline\nline\\."),
        ]

    def test_a_large_file_is_never_held_in_memory(self, postgres_dsn: str, tmp_path: Path) -> None:
        posts = "".join(f"{post}\t\\N\t\\N\t\\N\t{'long ' * 20_000}\n" for post in range(10, 410))  # 40 MB
        graph = a_graph(tmp_path, posts=posts)
        del posts
        tracemalloc.start()
        load_directory(postgres_dsn, graph)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10_000_000

    @pytest.mark.skipif(not TRAVEL.exists(), reason="../shared/data/travel is absent")
    def test_the_travel_data_loads_whole(self, postgres_dsn: str, database: Any) -> None:
        load_directory(postgres_dsn, TRAVEL)
        assert counts(database) == {
            "users": 17_938, "posts": 20_638, "tags": 1_743, "post_tags": 62_414, "interactions": 174_787,
        }  # fmt: skip


class TestLoadingAgain:
    def test_the_same_directory_changes_nothing(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        load_directory(postgres_dsn, a_graph(tmp_path))
        before = [fetch(database, f"SELECT * FROM {table} ORDER BY 1, 2") for table in COLUMNS]
        report = load_directory(postgres_dsn, tmp_path)
        assert set(added_and_updated(report).values()) == {(0, 0)}
        assert [fetch(database, f"SELECT * FROM {table} ORDER BY 1, 2") for table in COLUMNS] == before

    def test_a_known_id_is_updated_and_only_changed_rows_are_dated(
        self, postgres_dsn: str, database: Any, tmp_path: Path
    ) -> None:
        load_directory(postgres_dsn, a_graph(tmp_path / "one"))
        before = dict(fetch(database, "SELECT post_id, updated_at FROM posts"))
        changed = "10\t1\t2016-02-01 10:00:00\tLisbon\t\\N\n11\t\\N\t\\N\t\\N\t\\N\n12\t2\t\\N\tnew\t\\N\n"
        report = load_directory(postgres_dsn, a_graph(tmp_path / "two", posts=changed))
        after = dict(fetch(database, "SELECT post_id, updated_at FROM posts"))
        assert added_and_updated(report)["posts"] == (1, 1)
        assert after[10] > before[10]
        assert after[11] == before[11]
        assert fetch(database, "SELECT body FROM posts WHERE post_id = 10") == [(None,)]

    def test_users_and_tags_are_updated_too(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        load_directory(postgres_dsn, a_graph(tmp_path / "one"))
        users = "1\t2016-01-01 10:00:00\n2\t2017-01-01 00:00:00\n"
        report = load_directory(postgres_dsn, a_graph(tmp_path / "two", users=users, tags="100\tPortugal\n"))
        assert added_and_updated(report)["users"] == (0, 1)
        assert added_and_updated(report)["tags"] == (0, 1)
        assert fetch(database, "SELECT name FROM tags") == [("Portugal",)]

    def test_of_several_rows_with_one_id_the_last_counts(
        self, postgres_dsn: str, database: Any, tmp_path: Path
    ) -> None:
        report = load_directory(postgres_dsn, a_graph(tmp_path, tags="100\tfirst\n100\tsecond\n100\tthird\n"))
        assert fetch(database, "SELECT name FROM tags") == [("third",)]
        assert added_and_updated(report)["tags"] == (1, 0)

    def test_rows_equal_in_all_columns_are_one(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        repeats = (
            INTERACTIONS + INTERACTIONS + "2\t10\tlike\t2016-01-01 00:00:00\n1\t10\tview\t2016-03-01 12:00:00+02\n"
        )
        graph = a_graph(tmp_path, interactions=repeats, post_tags=POST_TAGS * 3)
        first, second = load_directory(postgres_dsn, graph), load_directory(postgres_dsn, graph)
        assert added_and_updated(first)["interactions"] == (3, 0)  # the last row is the first in another zone
        assert added_and_updated(first)["post_tags"] == (1, 0)
        assert added_and_updated(second)["interactions"] == (0, 0)
        assert counts(database)["interactions"] == 3

    def test_a_row_may_name_what_only_the_database_holds(
        self, postgres_dsn: str, database: Any, tmp_path: Path
    ) -> None:
        load_directory(postgres_dsn, a_graph(tmp_path / "one"))
        more = a_graph(tmp_path / "two", users="", posts="12\t2\t\\N\t\\N\t\\N\n", tags="", post_tags="12\t100\n")
        load_directory(postgres_dsn, more)
        assert counts(database) == {"users": 2, "posts": 3, "tags": 1, "post_tags": 2, "interactions": 2}

    def test_the_foreign_keys_are_as_they_were(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        keys = (
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 2"
        )
        before = fetch(database, keys)
        load_directory(postgres_dsn, a_graph(tmp_path))
        assert fetch(database, keys) == before
        assert sum("FOREIGN KEY" in definition for _, _, definition, _ in before) == 5

    def test_a_role_that_does_not_own_the_tables_may_load_where_it_may_write(
        self, postgres_reader_dsn: str, postgres_database: str, database: Any, tmp_path: Path
    ) -> None:
        database.execute(f"GRANT TEMPORARY ON DATABASE {postgres_database} TO waypost_reader")
        database.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO waypost_reader")
        dsn = make_dsn(postgres_reader_dsn, options="-c default_transaction_read_only=off")
        report = load_directory(dsn, a_graph(tmp_path))
        assert added_and_updated(report)["interactions"] == (2, 0)

    def test_two_loads_at_once_add_each_row_once(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        graph = a_graph(tmp_path)
        with ThreadPoolExecutor() as pool:
            reports = list(pool.map(lambda _: load_directory(postgres_dsn, graph), range(3)))
        assert sorted(added_and_updated(report)["interactions"] for report in reports) == [(0, 0), (0, 0), (2, 0)]
        assert counts(database)["interactions"] == 2


class TestRefusals:
    """One line naming file, line and remedy, and a database as it was."""

    def refusal(self, dsn: str, database: Any, graph: Path) -> str:
        with pytest.raises(GraphDirectoryError) as caught:
            load_directory(dsn, graph)
        assert counts(database) == NOTHING
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("table", "rows", "column", "target"),
        [
            ("posts", POSTS + "12\t3\t\\N\t\\N\t\\N\n", "author_id", "users"),
            ("post_tags", POST_TAGS * 2 + "12\t100\n", "post_id", "posts"),
            ("post_tags", POST_TAGS * 2 + "11\t101\n", "tag_id", "tags"),
            ("interactions", INTERACTIONS + "3\t10\tview\t\\N\n", "user_id", "users"),
            ("interactions", INTERACTIONS + "1\t12\tview\t\\N\n", "post_id", "posts"),
        ],
    )
    def test_a_reference_to_nobody(
        self, postgres_dsn: str, database: Any, tmp_path: Path, table: str, rows: str, column: str, target: str
    ) -> None:
        assert self.refusal(postgres_dsn, database, a_graph(tmp_path, **{table: rows})) == (
            f"{table}.tsv line 4: {column} is found neither in the {target} file nor in the database;"
            f" add it to the {target} file; nothing of this load stays"
        )

    def test_the_first_of_several_strangers_is_named_and_the_others_counted(
        self, postgres_dsn: str, database: Any, tmp_path: Path
    ) -> None:
        rows = "1\t10\tone\\\ntwo\t\\N\n" + "9\t10\tview\t\\N\n" * 3
        message = self.refusal(postgres_dsn, database, a_graph(tmp_path, interactions=rows))
        assert message.startswith("interactions.tsv line 4 (and 2 more lines): user_id is found neither")

    @pytest.mark.parametrize(
        ("table", "row", "where", "what"),
        [
            ("users", "ten\t\\N", ", column user_id", "no 64-bit integer"),
            ("users", "1.5\t\\N", ", column user_id", "no 64-bit integer"),
            ("users", "\t\\N", ", column user_id", "no 64-bit integer"),
            ("users", "9223372036854775808\t\\N", ", column user_id", "a number outside -2^63 to 2^63-1"),
            ("users", "3\tyesterday-ish", ", column created_at", "no time"),
            ("users", "3\t2016-13-45 00:00:00", ", column created_at", "a time outside Postgres' range"),
            ("users", "3\t2016-01-01 00:00:00 Mars/Base", ", column created_at", "a time in no known zone"),
            ("users", "\\N\t\\N", ", column user_id", "NULL"),
            ("users", "3", "", 'missing data for column "created_at"'),
            ("users", "", ", column user_id", "no 64-bit integer"),
            ("users", "3\t\\N\t\\N", "", "extra data after last expected column"),
            ("posts", "\\N\t\\N\t\\N\t\\N\t\\N", ", column post_id", "NULL"),
            ("posts", "12\t\\N\t\\N\ta\x00b\t\\N", "", "a NUL character or bytes that are not UTF-8"),
            ("posts", "12\t\\N\t\\N\ta\\000b\t\\N", "", "a NUL character or bytes that are not UTF-8"),
            ("posts", b"12\t\\N\t\\N\tcaf\xe9\t\\N", "", "a NUL character or bytes that are not UTF-8"),
            ("tags", "\\N\tname", ", column tag_id", "NULL"),
            ("post_tags", "\\N\t100", ", column post_id", "NULL"),
            ("post_tags", "10\t\\N", ", column tag_id", "NULL"),
            ("interactions", "\\N\t10\tview\t\\N", ", column user_id", "NULL"),
            ("interactions", "1\t\\N\tview\t\\N", ", column post_id", "NULL"),
            ("interactions", "1\t10\tview\tnope", ", column created_at", "no time"),
        ],
    )
    def test_a_bad_line(
        self, postgres_dsn: str, database: Any, tmp_path: Path, table: str, row: str | bytes, where: str, what: str
    ) -> None:
        good = {
            "users": USERS,
            "posts": POSTS,
            "tags": TAGS * 2,
            "post_tags": POST_TAGS * 2,
            "interactions": INTERACTIONS,
        }
        bad = row.encode() if isinstance(row, str) else row
        message = self.refusal(postgres_dsn, database, a_graph(tmp_path, **{table: good[table].encode() + bad + b"\n"}))
        assert message.startswith(f"{table}.tsv line 4{where}: {what}")
        assert message.endswith("; correct that line; nothing of this load stays")

    def test_the_line_is_right_deep_in_a_long_file(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        rows = b"".join(b"%d\t\\N\t\\N\ttitle\tbody\\\nmore %s\n" % (post, b"x" * 90) for post in range(30_000))
        bad = rows + b"30000\t\\N\t\\N\ttitle\tcaf\xe9\n" + rows
        message = self.refusal(postgres_dsn, database, a_graph(tmp_path, posts=bad))
        assert message.startswith("posts.tsv line 60002: a NUL character or bytes that are not UTF-8")

    def test_an_end_marker_inside_a_file(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        message = self.refusal(
            postgres_dsn, database, a_graph(tmp_path, interactions="1\t10\tview\t\\N\n\\.\n" + INTERACTIONS)
        )
        assert message.startswith("interactions.tsv line 3: \\. would end the data here")

    def test_an_empty_file(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        (a_graph(tmp_path) / "interactions.tsv").write_bytes(b"")
        assert self.refusal(postgres_dsn, database, tmp_path).startswith("interactions.tsv is empty; start it with")

    @pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
    def test_a_file_truncated_after_many_good_rows(
        self, postgres_dsn: str, database: Any, tmp_path: Path, suffix: str, compress: Any
    ) -> None:
        plain = a_graph(tmp_path, interactions=INTERACTIONS * 100_000) / "interactions.tsv"
        whole = compress(plain.read_bytes())
        (tmp_path / f"interactions.tsv{suffix}").write_bytes(whole[:-30])
        plain.unlink()
        message = self.refusal(postgres_dsn, database, tmp_path)
        assert message.startswith(f"interactions.tsv{suffix} is truncated or damaged")


class TestTheDatabaseIsNotAsAssumed:
    def test_a_missing_table_is_named(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        database.execute("DROP TABLE interactions")
        with pytest.raises(SchemaError, match=r"no table interactions; apply deploy/postgres/schema\.sql"):
            load_directory(postgres_dsn, a_graph(tmp_path))

    def test_a_missing_column_is_named(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        database.execute("ALTER TABLE posts DROP COLUMN body")
        with pytest.raises(SchemaError, match="table posts has no column body"):
            load_directory(postgres_dsn, a_graph(tmp_path))

    def test_a_column_of_the_wrong_type_is_named(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        database.execute("ALTER TABLE interactions ALTER created_at DROP DEFAULT, ALTER created_at TYPE text")
        with pytest.raises(SchemaError, match=r"interactions\.created_at is text, not timestamp with time zone"):
            load_directory(postgres_dsn, a_graph(tmp_path))

    def test_a_table_without_its_key_is_a_schema_error(self, postgres_dsn: str, database: Any, tmp_path: Path) -> None:
        database.execute("ALTER TABLE tags DROP CONSTRAINT tags_pkey CASCADE")
        with pytest.raises(SchemaError, match="unique or exclusion constraint"):
            load_directory(postgres_dsn, a_graph(tmp_path))

    @pytest.mark.parametrize("read_only", ["on", "off"])
    def test_a_role_that_may_only_read_is_told_so(
        self, postgres_reader_dsn: str, tmp_path: Path, read_only: str
    ) -> None:
        dsn = make_dsn(postgres_reader_dsn, options=f"-c default_transaction_read_only={read_only}")
        with pytest.raises(SchemaError, match=r"the role may not load here \(.*\); load as the owner of the tables"):
            load_directory(dsn, a_graph(tmp_path))

    def test_a_not_null_of_the_database_is_told_with_its_line(
        self, postgres_dsn: str, database: Any, tmp_path: Path
    ) -> None:
        database.execute("ALTER TABLE interactions ALTER kind SET NOT NULL")
        with pytest.raises(GraphDirectoryError, match=r"interactions\.tsv line 2, column kind: NULL"):
            load_directory(postgres_dsn, a_graph(tmp_path, interactions="1\t10\t\\N\t\\N\n"))

    def test_a_server_that_is_not_there_is_retryable(self, tmp_path: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            dsn = f"postgresql://waypost@127.0.0.1:{unused.getsockname()[1]}/waypost"
            with pytest.raises(PostgresUnavailable, match="check that it runs"):
                load_directory(dsn, a_graph(tmp_path))

    def test_a_malformed_dsn_is_a_settings_error_that_does_not_repeat_it(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError) as caught:
            load_directory("hunter2 and so on", a_graph(tmp_path))
        assert "hunter2" not in str(caught.value)

    def test_a_backend_that_dies_is_retryable_and_nothing_stays(
        self, postgres_dsn: str, database: Any, tmp_path: Path
    ) -> None:
        database.execute("SELECT pg_advisory_lock(%s)", (LOAD_LOCK,))  # the load waits for it, inside its transaction
        failures: list[BaseException] = []

        def load() -> None:
            try:
                load_directory(postgres_dsn, a_graph(tmp_path))
            except PostgresUnavailable as error:
                failures.append(error)

        loading = threading.Thread(target=load)
        loading.start()
        terminate_waiting_backend(database)
        loading.join(WAIT_SECONDS)
        assert len(failures) == 1
        assert counts(database) == NOTHING


def terminate_waiting_backend(database: Any) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        killed = fetch(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'waypost load' AND wait_event_type = 'Lock'",
        )
        if killed:
            return
        time.sleep(0.02)
    pytest.fail("no load ever waited")
