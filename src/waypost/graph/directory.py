"""A graph directory: five tab-separated files in Postgres' COPY text format under a header, plain, .gz or .xz.

Finds the files, reads their headers, and hands their rows on in blocks without ever holding a file. It knows no
database: what a value means is Postgres' business, so blocks pass unparsed, and only what COPY would misread in silence
is looked for (a backslash-period, after which COPY drops the rest). Lines are counted as an editor counts them, header
included.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from waypost.errors import GraphDirectoryError

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "users": ("user_id", "created_at"),
    "posts": ("post_id", "author_id", "created_at", "title", "body"),
    "tags": ("tag_id", "name"),
    "post_tags": ("post_id", "tag_id"),
    "interactions": ("user_id", "post_id", "kind", "created_at"),
}
OPTIONAL_TABLES: Final = frozenset({"tags", "post_tags"})
SUFFIXES: Final = (".tsv", ".tsv.gz", ".tsv.xz")
BLOCK_BYTES: Final = 1 << 20  # large enough to make calls cheap, small beside the machine's memory
MAX_HEADER_BYTES: Final = 1 << 16  # a longer first line is no header; it keeps a file without newlines out of memory
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TableFile:
    """One file of the directory and the columns its header names, in the file's order, strangers included."""

    table: str
    path: Path
    header: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.name


def read_directory(directory: Path) -> tuple[TableFile, ...]:
    """The files that are there, in the order of COLUMNS; raises GraphDirectoryError for a missing or malformed one."""
    found = {table: _find(directory, table) for table in COLUMNS}
    return tuple(TableFile(table, path, _read_header(table, path)) for table, path in found.items() if path)


def existing_files(directory: Path, table: str) -> tuple[Path, ...]:
    """Every file of `directory` that claims to be `table`'s; dangling links count."""
    return tuple(path for suffix in SUFFIXES if os.path.lexists(path := directory / f"{table}{suffix}"))


def _find(directory: Path, table: str) -> Path | None:
    with _reading(directory):
        is_folder = directory.is_dir()
    if not is_folder:
        raise GraphDirectoryError(f"{directory} is not a folder", "name a folder that holds users.tsv and the others")
    paths = existing_files(directory, table)
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise GraphDirectoryError(f"{directory} holds both {names}", "keep one of them")
    if not paths and table not in OPTIONAL_TABLES:
        raise GraphDirectoryError(f"{directory} holds no {table}.tsv, .tsv.gz or .tsv.xz", "add that file")
    return paths[0] if paths else None


def _read_header(table: str, path: Path) -> tuple[str, ...]:
    with _opened(path) as source:
        line = _read_header_line(path, source)
    wanted = f"start it with a line naming {', '.join(COLUMNS[table])}, separated by tabs"
    if not line:
        raise GraphDirectoryError(f"{path.name} is empty", wanted)
    header = tuple(line.decode("utf-8", "replace").split("\t"))
    missing = [column for column in COLUMNS[table] if column not in header]
    if missing:
        raise GraphDirectoryError(f"{path.name} line 1: the header lacks {', '.join(missing)}", wanted)
    if len(set(header)) < len(header):
        raise GraphDirectoryError(f"{path.name} line 1: the header names a column twice", wanted)
    return header


def _read_header_line(path: Path, source: IO[bytes]) -> bytes:
    with _reading(path):
        return source.readline(MAX_HEADER_BYTES).removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n")


@contextmanager
def open_rows(file: TableFile, on_rows: Callable[[int], None] = lambda rows: None) -> Iterator[RowStream]:
    """The rows after the header, ready for COPY; `on_rows` hears how many more have passed."""
    with _opened(file.path) as source:
        _read_header_line(file.path, source)
        yield RowStream(file, source, on_rows)


class RowStream:
    """A readable of COPY text that remembers how rows lie on lines.

    Escapes matter twice: backslash-newline is a newline inside a value (one row, two lines), and backslash-period ends
    the data. So a block never ends inside an escape.
    """

    def __init__(self, file: TableFile, source: IO[bytes], on_rows: Callable[[int], None]) -> None:
        self.failure: GraphDirectoryError | None = None  # what `read` raised, for callers behind a driver's C code
        self._file, self._source, self._on_rows = file, source, on_rows
        self._newlines = 0  # passed so far, those inside values included
        self._continued: list[int] = []  # for each newline inside a value its row, from 0; ascending
        self._held = b""  # a backslash whose partner is in the next block
        self._at_line_start = True
        self._ended = False

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """Some more bytes, b"" at the end."""
        try:
            while not self._ended:
                if block := self._checked(self._read_block(size)):
                    return self._passed(block)
        except GraphDirectoryError as error:
            self.failure = error
            raise
        return b""

    def line_of(self, row: int) -> int:
        """The line on which a row begins, both counted from 1; the header is line 1."""
        return 1 + row + bisect_left(self._continued, row - 1)

    def _read_block(self, size: int) -> bytes:
        with _reading(self._file.path):
            fresh = self._source.read(max(size, 1))
        self._ended = not fresh
        block, self._held = self._held + fresh, b""
        if fresh and (len(block) - len(block.rstrip(b"\\"))) % 2:
            block, self._held = block[:-1], b"\\"
        return block

    def _checked(self, block: bytes) -> bytes:
        """The block as far as COPY will read it, with the newlines inside values noted."""
        if b"\\." not in block and b"\\\n" not in block:  # the usual case, at the speed of a search
            return block
        newlines, counted = self._newlines, 0
        for escape in _ESCAPE.finditer(block):
            if escape[1] not in (b".", b"\n"):
                continue
            newlines += block.count(b"\n", counted, escape.start())
            if escape[1] == b".":
                self._expect_end(block, escape.start(), line=newlines + 2)
                return block[: escape.start()]
            self._continued.append(newlines - len(self._continued))
            counted = escape.end() - 1
        return block

    def _expect_end(self, block: bytes, at: int, line: int) -> None:
        """Let a lone backslash-period pass as the last line, as COPY does; raise where anything stands around it."""
        alone = block[at - 1 : at] == b"\n" if at else self._at_line_start
        with _reading(self._file.path):
            rest = block[at + 2 :] + self._source.read(len("\r\n") + 1)
        if not alone or rest not in (b"", b"\n", b"\r\n"):
            cause = f"{self._file.name} line {line}: \\. would end the data here"
            raise GraphDirectoryError(cause, "write a backslash as \\\\, or remove that line")
        self._ended = True

    def _passed(self, block: bytes) -> bytes:
        newlines = block.count(b"\n")
        self._newlines += newlines
        self._at_line_start = block.endswith(b"\n")
        self._on_rows(newlines)
        return block


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with _reading(path):
        if not path.is_file():
            raise GraphDirectoryError(f"{path.name} is not a readable file", "replace it with a regular file")
        source = _open(path)
    with source:
        yield source


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast(IO[bytes], lzma.open(path, "rb"))
    return path.open("rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise GraphDirectoryError(
            f"{path.name} is truncated or damaged ({error})", "copy or compress it again"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise GraphDirectoryError(f"{path.name} cannot be read ({reason})", "make it readable for this user") from None
