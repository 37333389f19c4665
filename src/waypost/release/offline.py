"""The offline twin of a request: every user asks, in this process, the model file of the served release.

Lists are lines of words, so a text key is written as Postgres' COPY would: a backslash doubled, white space and control
characters as `\\x` and two hexadecimal digits for each of their bytes. Integers and UUIDs need none of it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from waypost.errors import NoRelease, UsageError
from waypost.logs import Progress
from waypost.model.signature import MAX_BATCH, MAX_ITEMS
from waypost.objects.protocols import ObjectStore
from waypost.questions import Answer, AppKey, Question
from waypost.release.answering import Answerer
from waypost.release.onnx_runner import load_onnx
from waypost.release.opening import file_of, open_release
from waypost.release.pointer import read_pointer
from waypost.release.signing import TrustedKeys
from waypost.release.store import MODEL, load_release
from waypost.stages import StageTimer

logger = logging.getLogger(__name__)
_NO_WORD = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f]")  # what splits a line or a list of words, and the escape itself


def load_answerer(store: ObjectStore, trusted: TrustedKeys) -> Answerer:
    """The served release, ready to answer in this process. Raises NoRelease, CorruptObject, StoreUnavailable."""
    held = read_pointer(store)
    if held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    manifest, files = load_release(store, held.pointer.release, trusted, version=held.pointer.version)
    return open_release(manifest, files, load_onnx(file_of(files, MODEL)))


def recommend_all_users(answerer: Answerer, k: int, exclude_seen: bool) -> Iterator[tuple[AppKey, Answer]]:
    """(user_id, answer) for every user of the release, by ascending key."""
    if not 1 <= k <= MAX_ITEMS:
        raise UsageError(f"--k must be from 1 to {MAX_ITEMS}, not {k}")
    users = np.arange(answerer.lookups.sizes.num_users)
    with Progress(logger, "recommending", "users", total=len(users)) as progress:
        for start in range(0, len(users), MAX_BATCH):
            keys = answerer.lookups.users_at(users[start : start + MAX_BATCH])
            questions = [Question(user, k, exclude_seen=exclude_seen) for user in keys]
            answers = answerer.answer(questions, StageTimer())
            yield from ((question.user_id, answer) for question, answer in zip(questions, answers, strict=True))
            progress.advance(len(questions))


def write_lists(path: Path, lists: Iterator[tuple[AppKey, Answer]]) -> int:
    """`user<TAB>post post …`, one line a user, best first; the file appears whole or not at all. Returns the lines.

    Raises UsageError when the file cannot be written, or a key cannot.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    lines = 0
    try:
        with scratch.open("w", encoding="utf-8", newline="\n") as file:
            for user_id, answer in lists:
                file.write(f"{as_word(user_id)}\t{' '.join(as_word(post_id) for post_id, _ in answer.items)}\n")
                lines += 1
        scratch.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "name a writable file with --output") from error
    finally:
        scratch.unlink(missing_ok=True)
    return lines


def as_word(key: AppKey) -> str:
    """The key as one word of a list. Raises UsageError for the empty text, which is no word."""
    if key == "":
        raise UsageError("the key of a user or post is the empty text, which no list can name", "give it another key")
    return _NO_WORD.sub(_escaped, key) if isinstance(key, str) else str(key)


def _escaped(found: re.Match[str]) -> str:
    if found.group() == "\\":
        return r"\\"
    return "".join(f"\\x{byte:02x}" for byte in found.group().encode())
