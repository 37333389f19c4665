"""Golden questions: rows of model input with the answers the exporter got, kept in the release.

Whoever loads a release asks them and compares. READY says that a server runs; a right answer says that this model does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.errors import CorruptObject
from waypost.model.signature import INPUTS, MAX_ITEMS

RELATIVE_TOLERANCE = 1e-4  # fp32 sums in another order, on another processor; a wrong table is off by far more
ABSOLUTE_TOLERANCE = 1e-6  # what fp32 leaves of terms of size 1 that cancel out
COMPARED = 20  # posts of each list; the far tail may tie


@dataclass(frozen=True, eq=False)
class Golden:
    """`inputs` name -> [questions, n]; `post_index` and `score` [questions, items]."""

    inputs: dict[str, NDArray[np.int32]]
    post_index: NDArray[np.int64]
    score: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.post_index)

    def first(self) -> Golden:
        """One question alone: enough to see that a model still answers."""
        return Golden({name: rows[:1] for name, rows in self.inputs.items()}, self.post_index[:1], self.score[:1])


def to_bytes(golden: Golden) -> bytes:
    content = {
        "inputs": {name: array.tolist() for name, array in golden.inputs.items()},
        "post_index": golden.post_index.tolist(),
        "score": [[float(value) for value in row] for row in golden.score],
    }
    return json.dumps(content).encode()


def from_bytes(body: bytes) -> Golden:
    """Raises CorruptObject."""
    try:
        content = json.loads(body)
        with np.errstate(over="ignore"):  # a score past float32 is infinite, and refused below
            golden = Golden(
                inputs={tensor.name: np.array(content["inputs"][tensor.name], np.int32) for tensor in INPUTS},
                post_index=np.array(content["post_index"], np.int64),
                score=np.array(content["score"], np.float64).astype(np.float32),
            )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptObject(f"golden.json cannot be read: {type(error).__name__}") from None
    if golden.post_index.ndim != 2 or not len(golden) or golden.post_index.shape[1] > MAX_ITEMS:
        raise CorruptObject("golden.json holds no questions")
    if golden.score.shape != golden.post_index.shape or not np.isfinite(golden.score).all():
        raise CorruptObject("golden.json holds answers without a score")  # to which any answer would be equal
    return golden


def difference(golden: Golden, outputs: dict[str, NDArray[Any]]) -> str:
    """Why these outputs are not the golden ones, in a few words; empty when they are.

    Scores must agree within the tolerance. Posts must agree too, but two posts whose scores tie within it may swap.
    """
    posts, scores = outputs.get("post_index"), outputs.get("score")
    if posts is None or scores is None or posts.shape != golden.post_index.shape or scores.shape != golden.score.shape:
        return f"the answer has shape {getattr(posts, 'shape', None)}, not {golden.post_index.shape}"
    top = slice(0, COMPARED)
    scale = np.maximum(np.abs(golden.score[:, top]), np.abs(golden.score[:, :1]))
    off = np.abs(scores[:, top] - golden.score[:, top]) > RELATIVE_TOLERANCE * scale + ABSOLUTE_TOLERANCE
    if off.any() or not np.isfinite(scores).all():
        return f"{int(off.any(1).sum())} of {len(golden)} golden questions got other scores"
    unlike = [row for row in range(len(golden)) if not _same_posts(golden, posts, row)]
    return f"{len(unlike)} of {len(golden)} golden questions got other posts" if unlike else ""


def _same_posts(golden: Golden, posts: NDArray[Any], row: int) -> bool:
    """Each place holds the golden post, or one whose golden score ties with it."""
    score_of = dict(zip(golden.post_index[row].tolist(), golden.score[row].tolist(), strict=True))
    for place in range(min(COMPARED, posts.shape[1])):
        expected = float(golden.score[row, place])
        actual = score_of.get(int(posts[row, place]))
        limit = RELATIVE_TOLERANCE * max(abs(expected), abs(float(golden.score[row, 0]))) + ABSOLUTE_TOLERANCE
        if actual is None and place < posts.shape[1] - 1 and abs(expected - float(golden.score[row, -1])) > limit:
            return False
        if actual is not None and abs(actual - expected) > limit:
            return False
    return True
