"""The offline twin of a request: every user asks, in this process, the model file of the served release."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from waypost.errors import NoRelease, UsageError
from waypost.logs import Progress
from waypost.model.signature import MAX_BATCH, MAX_ITEMS
from waypost.objects.protocols import ObjectStore
from waypost.questions import Answer, Question
from waypost.release.answering import Answerer
from waypost.release.onnx_runner import load_onnx
from waypost.release.opening import file_of, open_release
from waypost.release.store import MODEL, load_release, read_pointer
from waypost.stages import StageTimer

logger = logging.getLogger(__name__)


def load_answerer(store: ObjectStore) -> Answerer:
    """The served release, ready to answer in this process. Raises NoRelease, CorruptObject, StoreUnavailable."""
    held = read_pointer(store)
    if held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    manifest, files = load_release(store, held.pointer.release)
    return open_release(manifest, files, load_onnx(file_of(files, MODEL)))


def recommend_all_users(answerer: Answerer, k: int, exclude_seen: bool) -> Iterator[tuple[int, Answer]]:
    """(user_id, answer) for every user of the release, by ascending id."""
    if not 1 <= k <= MAX_ITEMS:
        raise UsageError(f"--k must be from 1 to {MAX_ITEMS}, not {k}")
    user_ids = answerer.lookups.user_ids.tolist()
    with Progress(logger, "recommending", "users", total=len(user_ids)) as progress:
        for start in range(0, len(user_ids), MAX_BATCH):
            questions = [Question(user, k, exclude_seen=exclude_seen) for user in user_ids[start : start + MAX_BATCH]]
            answers = answerer.answer(questions, StageTimer())
            yield from ((question.user_id, answer) for question, answer in zip(questions, answers, strict=True))
            progress.advance(len(questions))


def write_lists(path: Path, lists: Iterator[tuple[int, Answer]]) -> int:
    """`user<TAB>post post …`, one line a user, best first; the file appears whole or not at all. Returns the lines."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    lines = 0
    try:
        with scratch.open("w", encoding="utf-8") as file:
            for user_id, answer in lists:
                file.write(f"{user_id}\t{' '.join(str(post_id) for post_id, _ in answer.items)}\n")
                lines += 1
        scratch.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "name a writable file with --output") from error
    finally:
        scratch.unlink(missing_ok=True)
    return lines
