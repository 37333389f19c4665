"""The posts that a file names, one key a line: what `waypost recommend --posts FILE` ranks.

Keys stand there as they stand in the lists that the verb writes (see `offline.as_word`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from waypost.errors import UsageError
from waypost.graph.tensors import Int32Array
from waypost.key_types import KeyType
from waypost.questions import AppKey
from waypost.release.lookups import Lookups

_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")
_REMEDY = "name the posts of the served release, one key a line"


def load_chosen_posts(path: Path, lookups: Lookups) -> Int32Array:
    """Rows of the posts named in the file, distinct, ascending; blank lines are passed over.

    Raises UsageError for a file that cannot be read or names none, a key of another type, and a post that the release
    does not know.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", _REMEDY) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", _REMEDY) from error
    line_of = dict(_keys(path, content, lookups.key_types.post))
    if not line_of:
        raise UsageError(f"{path} names no post", _REMEDY)
    rows = lookups.post_rows(list(line_of))
    if len(rows) < len(line_of):
        _refuse_unknown(path, line_of, set(lookups.posts_at(rows)))
    return rows


def _keys(path: Path, content: str, key_type: KeyType) -> Iterator[tuple[AppKey, int]]:
    """(key, number of its line)"""
    for number, line in enumerate(content.split("\n"), 1):
        word = line.strip()
        if word:
            try:
                yield from_word(word, key_type), number
            except ValueError:
                raise UsageError(
                    f"{path} line {number}: {word[:80]} is not a key of type {key_type}", _REMEDY
                ) from None


def from_word(word: str, key_type: KeyType) -> AppKey:
    """The inverse of `offline.as_word`. Raises ValueError for a word that is no such key."""
    if key_type == "integer":
        return int(word)
    if key_type == "uuid":
        return str(UUID(word))
    return _ESCAPE.sub(_unescaped, word.encode()).decode()


def _unescaped(found: re.Match[bytes]) -> bytes:
    return b"\\" if found.group(1) is None else bytes([int(found.group(1), 16)])


def _refuse_unknown(path: Path, line_of: dict[AppKey, int], known: set[AppKey]) -> None:
    unknown = [key for key in line_of if key not in known]
    raise UsageError(
        f"{path} names {len(unknown)} of {len(line_of)} posts that the served release does not know,"
        f" the first on line {line_of[unknown[0]]}: {str(unknown[0])[:80]}",
        "leave them out, or run `waypost night` or `waypost refresh` to have new posts in the release",
    )
