"""Questions -> rows -> model -> answers. The worker and the offline verb share this code and differ in `Infer` alone,
which is why a user gets the same list over HTTP and offline.

A question that tells the model nothing (no history, no recent posts, no tags, no query) is answered by popularity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from waypost.model.signature import FORBIDDEN_SCORE, Row, pack
from waypost.questions import Answer, AppKey, Question
from waypost.release.calls import to_calls
from waypost.release.inputs import Inputs
from waypost.release.lookups import Lookups, without
from waypost.stages import StageTimer

Infer = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]  # model inputs -> model outputs
MAX_QUERY_TOKENS = 256  # of at most 1,000 characters


@dataclass(frozen=True)
class Answerer:
    """One release, ready to answer. Safe for use by several threads where `infer` is."""

    model_version: int
    lookups: Lookups
    tokenizer: Tokenizer
    infer: Infer
    only_posts: NDArray[np.int32] | None = None  # [n] rows, ascending: no others are ranked; None: every post

    def answer(self, questions: Sequence[Question], stages: StageTimer) -> list[Answer]:
        """One answer per question, in order. Raises what `infer` raises (TritonUnavailable)."""
        with stages.time("tokenize"):
            tokens = [self._tokens(question.query) for question in questions]
        with stages.time("lookup"):
            rows = self._inputs.rows(questions, tokens)
            ranked = [i for i, row in enumerate(rows) if self._inputs.tells_something(row)]
        outputs = []
        for call in to_calls([rows[i] for i in ranked]):
            members = [ranked[i] for i in call]
            with stages.time("infer"):
                outputs.append((members, self.infer(pack([rows[i] for i in members], self.lookups.sizes))))
        with stages.time("encode"):
            answers = {i: answer for call in outputs for i, answer in self._ranked(questions, *call)}
            return [answers.get(i) or self._popular(questions[i], rows[i]) for i in range(len(questions))]

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self.lookups, self.only_posts)

    def _tokens(self, query: str | None) -> list[int]:
        """Token ids that the model has a row for: one that no post uses was never trained."""
        if not query:
            return []
        ids = self.tokenizer.encode(query, add_special_tokens=False).ids[:MAX_QUERY_TOKENS]
        return [token for token in ids if token < self.lookups.num_tokens]

    def _ranked(
        self, questions: Sequence[Question], members: Sequence[int], outputs: dict[str, NDArray[Any]]
    ) -> Iterator[tuple[int, Answer]]:
        """From the model's post_index and score [len(members), num_items], best first."""
        wanted = [questions[i].k for i in members]
        posts, scores = _tied_in_order(outputs["post_index"], outputs["score"])
        posts, scores = posts[:, : max(wanted)], scores[:, : max(wanted)]
        eligible: list[int] = (scores > FORBIDDEN_SCORE / 2).sum(axis=1).tolist()
        counts = list(map(min, wanted, eligible))
        keys, listed = self._keys_of(posts, counts), scores.tolist()
        for row, (i, count) in enumerate(zip(members, counts, strict=True)):
            items = tuple(zip(keys[row], listed[row][:count], strict=True))
            yield i, Answer(self.model_version, "graphsage", items)

    def _keys_of(self, posts: NDArray[Any], counts: Sequence[int]) -> list[Sequence[AppKey]]:
        """The app's own keys of the first posts of each row."""
        if self.lookups.post_keys is not None:
            return [self.lookups.posts_at(row[:count]) for row, count in zip(posts, counts, strict=True)]
        ids = self.lookups.post_ids[posts].tolist()
        return [row[:count] for row, count in zip(ids, counts, strict=True)]

    def _popular(self, question: Question, row: Row) -> Answer:
        posts = popular_rows(self.lookups, row, question.k)
        items = zip(self.lookups.posts_at(posts), self.lookups.popularity[posts].tolist(), strict=True)
        return Answer(self.model_version, "popular", tuple(items))


def _tied_in_order(posts: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Posts of one score by ascending row, which is ascending id; ONNX asks TopK for it, not every provider does it."""
    if not ((scores[:, 1:] == scores[:, :-1]) & (scores[:, 1:] > FORBIDDEN_SCORE / 2)).any():
        return posts, scores
    order = np.lexsort((posts, -scores), axis=-1)
    return np.take_along_axis(posts, order, axis=1), np.take_along_axis(scores, order, axis=1)


def popular_rows(lookups: Lookups, row: Row, k: int) -> NDArray[np.int32]:
    """The k most popular posts that the row allows."""
    blocked = np.unique(np.asarray(row.blocked_posts, np.int32))
    if not row.restricted:
        return without(lookups.popular_posts[: k + len(blocked)], blocked)[:k]  # at most all blocked ones lead
    allowed = without(np.asarray(row.allowed_posts, np.int32), blocked)
    order = np.argsort(-lookups.popularity[allowed], kind="stable")  # ties by ascending row, as the list itself
    return allowed[order[:k]]
