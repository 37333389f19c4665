"""A graph directory in memory, for cutting and for models that run in this process: rows of words, as COPY has them."""

from __future__ import annotations

import lzma
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from waypost.graph.directory import COLUMNS
from waypost.graph.tensors import NO_AUTHOR, NO_TIME, GraphTensors, Interactions, csr_from_pairs, no_entries
from waypost.graph.texts import to_texts
from waypost.model.tokens import tokenized
from waypost.objects.memory import MemoryObjectStore

Row = tuple[str, ...]
NULL = r"\N"
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROL = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, eq=False)
class GraphFiles:
    """Columns as in DESIGN.md 3.1, in its order."""

    users: Sequence[Row] = ()
    posts: Sequence[Row] = ()
    tags: Sequence[Row] = ()
    post_tags: Sequence[Row] = ()
    interactions: Sequence[Row] = ()


def read_graph_files(folder: Path) -> GraphFiles:
    return GraphFiles(**{table: _read(folder, table) for table in COLUMNS})


def _read(folder: Path, table: str) -> list[Row]:
    path = next((found for suffix in (".tsv", ".tsv.xz") if (found := folder / f"{table}{suffix}").exists()), None)
    if path is None:
        return []
    packed = path.read_bytes()
    text = (lzma.decompress(packed) if path.suffix == ".xz" else packed).decode()
    header, *lines = text.rstrip("\n").split("\n")
    if tuple(header.split("\t")) != COLUMNS[table]:
        raise RuntimeError(f"{path} has other columns than {', '.join(COLUMNS[table])}")
    return [tuple(line.split("\t")) for line in lines]


def write_graph_files(folder: Path, files: GraphFiles) -> Path:
    """A folder for `waypost load`; tags and post_tags are left out when there are none."""
    folder.mkdir(parents=True)
    for field in fields(files):
        rows = getattr(files, field.name)
        if rows or field.name not in {"tags", "post_tags"}:
            lines = ("\t".join(row) for row in (COLUMNS[field.name], *rows))
            (folder / f"{field.name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return folder


def unescaped(value: str) -> str:
    """The text of a value that is not NULL."""
    return _ESCAPED.sub(lambda found: _CONTROL.get(found[1], found[1]), value)


def to_tensors(files: GraphFiles, *, with_tokens: bool = True) -> GraphTensors:
    """What the trainer would see of it; every kind weighs 1."""
    user_ids, posts = np.sort(_integers(files.users, 0)), sorted(files.posts, key=lambda row: int(row[0]))
    post_ids, tags = _integers(posts, 0), sorted(files.tags, key=lambda row: int(row[0]))
    tag_ids = _integers(tags, 0)
    tagged = (
        np.searchsorted(post_ids, _integers(files.post_tags, 0)),
        np.searchsorted(tag_ids, _integers(files.post_tags, 1)),
    )
    kinds = tuple(sorted({row[2] for row in files.interactions}))
    tensors = GraphTensors(
        user_ids=user_ids,
        post_ids=post_ids,
        tag_ids=tag_ids,
        tag_names=tuple(unescaped(row[1]) for row in tags),
        kinds=kinds,
        post_author=_authors(posts, user_ids),
        post_created_at=_times([row[2] for row in posts]),
        post_tags=csr_from_pairs(*tagged, len(posts)),
        interactions=_interactions(files.interactions, user_ids, post_ids, kinds),
        post_texts=to_texts(_text(row[3:]) for row in posts),
        post_tokens=no_entries(len(posts)),
        kind_weights=(1.0,) * len(kinds),
    )
    return tokenized(MemoryObjectStore(), "bench", tensors).tensors if with_tokens else tensors


def _interactions(
    rows: Sequence[Row], user_ids: NDArray[np.int64], post_ids: NDArray[np.int64], kinds: Sequence[str]
) -> Interactions:
    user = np.searchsorted(user_ids, _integers(rows, 0)).astype(np.int32)
    post = np.searchsorted(post_ids, _integers(rows, 1)).astype(np.int32)
    number = {kind: position for position, kind in enumerate(kinds)}
    kind, time = np.array([number[row[2]] for row in rows], np.uint8), _times([row[3] for row in rows])
    return Interactions(user, post, kind, time).take(np.lexsort((kind, time, post, user)))


def _integers(rows: Sequence[Row], column: int) -> NDArray[np.int64]:
    return np.array([int(row[column]) for row in rows], np.int64)


def _authors(posts: Sequence[Row], user_ids: NDArray[np.int64]) -> NDArray[np.int32]:
    rows = {user: row for row, user in enumerate(user_ids.tolist())}
    return np.array([NO_AUTHOR if row[1] == NULL else rows[int(row[1])] for row in posts], np.int32)


def _times(values: Sequence[str]) -> NDArray[np.int64]:
    given = np.array([value != NULL for value in values], bool)
    times = np.array([value if value != NULL else "1970-01-01" for value in values], "datetime64[us]")
    return np.where(given, times.astype(np.int64), NO_TIME)


def _text(values: Sequence[str]) -> str:
    """Title, line feed, body, as the trainer reads them."""
    return "\n".join(unescaped(value) for value in values if value != NULL)[:4_000]


def read_sets(path: Path) -> list[tuple[str, str]]:
    """(user, post) of every `user post post …` line of an .xz."""
    lines = (line.split() for line in lzma.decompress(path.read_bytes()).decode().splitlines())
    return [(user, post) for user, *posts in lines for post in posts]
