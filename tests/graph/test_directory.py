"""Graph directories as files: what is found, how headers are read, and how rows lie on lines. No database."""

from __future__ import annotations

import gzip
import lzma
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import GraphDirectoryError
from waypost.graph.directory import COLUMNS, TableFile, open_rows, read_directory

HEADERS = {table: "\t".join(columns) + "\n" for table, columns in COLUMNS.items()}


def a_directory(folder: Path, **tables: str | bytes | None) -> Path:
    """All five files with a header and no rows, save for those given; None leaves a file out."""
    for table, text in {**HEADERS, **tables}.items():
        if text is not None:
            (folder / f"{table}.tsv").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def rows_of(path: Path, block_bytes: int = 1 << 20) -> bytes:
    with open_rows(TableFile("users", path, COLUMNS["users"])) as stream:
        return b"".join(iter(lambda: stream.read(block_bytes), b""))


def test_all_five_files_are_found_in_their_order(tmp_path: Path) -> None:
    assert [file.table for file in read_directory(a_directory(tmp_path))] == list(COLUMNS)


def test_tags_and_post_tags_may_be_missing(tmp_path: Path) -> None:
    files = read_directory(a_directory(tmp_path, tags=None, post_tags=None))
    assert [file.table for file in files] == ["users", "posts", "interactions"]


@pytest.mark.parametrize("table", ["users", "posts", "interactions"])
def test_a_missing_file_is_named(tmp_path: Path, table: str) -> None:
    with pytest.raises(GraphDirectoryError, match=rf"no {table}\.tsv, \.tsv\.gz or \.tsv\.xz; add that file"):
        read_directory(a_directory(tmp_path, **{table: None}))


def test_other_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "users.tsv.zst").write_text("hello")
    assert len(read_directory(a_directory(tmp_path))) == len(COLUMNS)


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    a_directory(tmp_path)
    (tmp_path / "posts.tsv.xz").write_bytes(lzma.compress(HEADERS["posts"].encode()))
    with pytest.raises(GraphDirectoryError, match=r"holds both posts\.tsv and posts\.tsv\.xz; keep one"):
        read_directory(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphDirectoryError, match="nowhere is not a folder"):
        read_directory(tmp_path / "nowhere")


def test_an_empty_file_is_told_which_header_it_needs(tmp_path: Path) -> None:
    with pytest.raises(
        GraphDirectoryError, match=r"users\.tsv is empty; start it with a line naming user_id, created_at"
    ):
        read_directory(a_directory(tmp_path, users=""))


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(GraphDirectoryError, match=r"posts\.tsv line 1: the header lacks author_id, body;"):
        read_directory(a_directory(tmp_path, posts="title\tpost_id\tcreated_at\n"))


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphDirectoryError, match=r"tags\.tsv line 1: the header names a column twice"):
        read_directory(a_directory(tmp_path, tags="tag_id\tname\tname\n"))


def test_a_file_without_any_newline_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(GraphDirectoryError, match=r"users\.tsv line 1: the header lacks user_id, created_at"):
        read_directory(a_directory(tmp_path, users="x" * 1_000_000))


@pytest.mark.parametrize("header", ["created_at\tuser_id\n", "created_at\tuser_id", "\ufeffcreated_at\tuser_id\r\n"])
def test_the_header_gives_the_order_of_the_columns(tmp_path: Path, header: str) -> None:
    assert read_directory(a_directory(tmp_path, users=header))[0].header == ("created_at", "user_id")


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
class TestCompressed:
    def test_rows_are_the_plain_ones(self, tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
        rows = b"".join(b"%d\t\\N\n" % row for row in range(100_000))
        path = tmp_path / f"users.tsv{suffix}"
        path.write_bytes(compress(b"user_id\tcreated_at\n") + compress(rows))  # two members, as `cat a.gz b.gz` makes
        assert rows_of(path) == rows

    @pytest.mark.parametrize("kept", [0, 10, 0.5])
    def test_a_truncated_one_is_named(
        self, tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], kept: float
    ) -> None:
        whole = compress(b"user_id\tcreated_at\n" + os.urandom(200_000).hex().encode())
        path = tmp_path / f"users.tsv{suffix}"
        path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
        with pytest.raises(GraphDirectoryError, match=rf"users\.tsv{suffix} is (empty|truncated or damaged)"):
            rows_of(read_directory(a_directory(tmp_path, users=None))[0].path)

    def test_one_that_is_compressed_otherwise_than_its_name_says_is_named(
        self, tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
    ) -> None:
        path = tmp_path / f"users.tsv{suffix}"
        path.write_bytes(lzma.compress(b"") if compress is gzip.compress else gzip.compress(b""))
        with pytest.raises(
            GraphDirectoryError, match=rf"users\.tsv{suffix} is truncated or damaged .*; copy or compress"
        ):
            rows_of(path)


def test_a_folder_in_a_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tags.tsv").mkdir()
    with pytest.raises(GraphDirectoryError, match=r"tags\.tsv is not a readable file"):
        read_directory(a_directory(tmp_path, tags=None))


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tags.tsv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(GraphDirectoryError, match=r"tags\.tsv is not a readable file"):
        read_directory(a_directory(tmp_path, tags=None))


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tags.tsv").symlink_to(tmp_path / "tags.tsv")
    with pytest.raises(GraphDirectoryError, match=r"tags\.tsv (is not a readable file|cannot be read)"):
        read_directory(a_directory(tmp_path, tags=None))


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "posts.tsv").symlink_to("/proc/self/mem")  # reading its start fails, for root too
    with pytest.raises(
        GraphDirectoryError, match=r"posts\.tsv cannot be read \(Input/output error\); make it readable"
    ):
        read_directory(a_directory(tmp_path, posts=None))


class TestEndMarker:
    """COPY drops whatever follows a backslash-period without a word, so it may only be the last line."""

    @pytest.mark.parametrize("ending", [b"\\.", b"\\.\n", b"\\.\r\n"])
    @pytest.mark.parametrize("block_bytes", [1, 2, 1 << 20])
    def test_it_may_be_the_last_line(self, tmp_path: Path, ending: bytes, block_bytes: int) -> None:
        (tmp_path / "users.tsv").write_bytes(b"user_id\tcreated_at\n1\t\\N\n" + ending)
        assert rows_of(tmp_path / "users.tsv", block_bytes) == b"1\t\\N\n"

    @pytest.mark.parametrize("rows", [b"\\.\n2\t\\N\n", b"2\tx\\.y\n", b"2\tx\\.\n", b"\\.\n\n", b"\\.x"])
    @pytest.mark.parametrize("block_bytes", [1, 2, 1 << 20])
    def test_anywhere_else_it_is_refused_with_its_line(self, tmp_path: Path, rows: bytes, block_bytes: int) -> None:
        (tmp_path / "users.tsv").write_bytes(b"user_id\tcreated_at\n1\tone\\\nvalue\n" + rows)
        with pytest.raises(GraphDirectoryError, match=re.escape("users.tsv line 4: \\. would end the data here")):
            rows_of(tmp_path / "users.tsv", block_bytes)

    @pytest.mark.parametrize("block_bytes", [1, 2, 3, 1 << 20])
    def test_an_escaped_backslash_before_a_period_is_text(self, tmp_path: Path, block_bytes: int) -> None:
        rows = b"1\tthe end\\\\.\n2\t\\\\\\\\.\n"
        (tmp_path / "users.tsv").write_bytes(b"user_id\tcreated_at\n" + rows)
        assert rows_of(tmp_path / "users.tsv", block_bytes) == rows


VALUES = st.lists(st.sampled_from([b"x", b"\\\\", b"\\\n", b"\\n", b"\\N", b"\\\t"]), max_size=6).map(b"".join)


@given(rows=st.lists(VALUES, max_size=20), block_bytes=st.integers(1, 40))
def test_every_rows_line_is_where_an_editor_finds_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], block_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "users.tsv"
    path.write_bytes(b"user_id\tcreated_at\n" + b"".join(row + b"\n" for row in rows))
    with open_rows(TableFile("users", path, COLUMNS["users"])) as stream:
        passed = b"".join(iter(lambda: stream.read(block_bytes), b""))
        lines = [stream.line_of(row + 1) for row in range(len(rows))]
    assert passed == b"".join(row + b"\n" for row in rows)
    assert lines == [2 + row + sum(earlier.count(b"\n") for earlier in rows[:row]) for row in range(len(rows))]
