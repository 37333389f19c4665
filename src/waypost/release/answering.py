"""Questions -> rows -> model -> answers. The worker and the offline verb share this code and differ in `Infer` alone,
which is why a user gets the same list over HTTP and offline.

A question that tells the model nothing (no history, no recent posts, no tags, no query) is answered by popularity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from waypost.model.signature import FORBIDDEN_SCORE, Row, pack
from waypost.questions import Answer, Question
from waypost.release.lookups import Lookups
from waypost.stages import StageTimer

Infer = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]  # model inputs -> model outputs
MAX_QUERY_TOKENS = 256  # of at most 1,000 characters
LIGHT_LIST = 4_096  # a row with a longer list gets a call of its own, so that the others are not padded to its length


@dataclass(frozen=True)
class Answerer:
    """One release, ready to answer. Safe for use by one thread at a time."""

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
            rows = [self._row(*pair) for pair in zip(questions, tokens, strict=True)]
            known = [i for i, row in enumerate(rows) if self._says_something(row)]
        ranked = self._rank([rows[i] for i in known], stages)
        answers: list[Answer | None] = [None] * len(questions)
        with stages.time("encode"):
            for i, (posts, scores) in zip(known, ranked, strict=True):
                answers[i] = self._model_answer(questions[i], posts, scores)
            return [
                answer or self._popular_answer(question, row)
                for answer, question, row in zip(answers, questions, rows, strict=True)
            ]

    def _tokens(self, query: str | None) -> list[int]:
        """Token ids that the model has a row for: one that no post uses was never trained."""
        if not query:
            return []
        ids = self.tokenizer.encode(query, add_special_tokens=False).ids[:MAX_QUERY_TOKENS]
        return [token for token in ids if token < self.lookups.num_tokens]

    def _row(self, question: Question, tokens: list[int]) -> Row:
        lookups = self.lookups
        user = lookups.user_row(question.user_id)
        recent = lookups.post_rows(question.recent_post_ids)
        seen = lookups.seen_rows(user)
        new = recent[~np.isin(recent, seen)]  # an edge that the night had already is no new neighbour
        blocked = [lookups.post_rows(question.exclude_post_ids)]
        if question.exclude_seen:
            blocked += [seen, recent]
        restricted, allowed = self._filter(question, blocked)
        return Row(
            user_index=user,
            recent_posts=new,
            query_tokens=tokens,
            profile_tags=self._profile(question, user, new),
            restricted=restricted,
            allowed_posts=allowed,
            blocked_posts=np.concatenate(blocked),
        )

    def _filter(self, question: Question, blocked: list[NDArray[np.int32]]) -> tuple[bool, NDArray[np.int32]]:
        """What may be ranked as the shorter of two lists: the posts allowed, or those added to `blocked`."""
        nothing = np.zeros(0, np.int32)
        allowed = self._allowed(question)
        if allowed is None:
            return False, nothing
        num_posts = self.lookups.sizes.num_posts
        if 2 * len(allowed) <= num_posts:
            return True, allowed
        blocked.append(np.setdiff1d(np.arange(num_posts, dtype=np.int32), allowed, assume_unique=True))
        return False, nothing

    def _allowed(self, question: Question) -> NDArray[np.int32] | None:
        """Rows that pass the tag filter and are among `only_posts`, ascending; None where neither is given."""
        if not question.tags:
            return self.only_posts
        allowed = self.lookups.allowed_posts(question.tags)
        if self.only_posts is None:
            return allowed
        return np.intersect1d(allowed, self.only_posts, assume_unique=True)

    def _profile(self, question: Question, user: int, recent: NDArray[np.int32]) -> list[int]:
        """Wanted tags stand for the taste of a user who has shown none."""
        if len(recent) or self._has_state(user):
            return []
        return self.lookups.tag_rows([*question.tags.any, *question.tags.all])

    def _has_state(self, user: int) -> bool:
        return user < len(self.lookups.user_ids) and bool(self.lookups.user_has_state[user])

    def _says_something(self, row: Row) -> bool:
        given = len(row.recent_posts) or len(row.query_tokens) or len(row.profile_tags)
        return bool(given) or self._has_state(row.user_index)

    def _rank(self, rows: Sequence[Row], stages: StageTimer) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        ranked: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        for group in _calls(rows):
            with stages.time("infer"):
                outputs = self.infer(pack([rows[i] for i in group], self.lookups.sizes))
            ranked.update(zip(group, zip(outputs["post_index"], outputs["score"], strict=True), strict=True))
        return [ranked[i] for i in range(len(rows))]

    def _model_answer(self, question: Question, posts: NDArray[Any], scores: NDArray[Any]) -> Answer:
        count = min(question.k, int((scores > FORBIDDEN_SCORE / 2).sum()))
        keys = self.lookups.posts_at(posts[:count])
        return Answer(self.model_version, "graphsage", tuple(zip(keys, scores[:count].tolist(), strict=True)))

    def _popular_answer(self, question: Question, row: Row) -> Answer:
        posts = popular_rows(self.lookups, row, question.k)
        items = zip(self.lookups.posts_at(posts), self.lookups.popularity[posts].tolist(), strict=True)
        return Answer(self.model_version, "popular", tuple(items))


def popular_rows(lookups: Lookups, row: Row, k: int) -> NDArray[np.int32]:
    """The k most popular posts that the row allows."""
    eligible = np.zeros(len(lookups.post_ids), bool) if row.restricted else np.ones(len(lookups.post_ids), bool)
    eligible[np.asarray(row.allowed_posts, np.int32)] = True
    eligible[np.asarray(row.blocked_posts, np.int32)] = False
    popular = lookups.popular_posts
    chosen: NDArray[np.int32] = popular[eligible[popular]][:k]
    return chosen


def _calls(rows: Sequence[Row]) -> list[list[int]]:
    """Which rows go into one call: all light ones together, each heavy one alone."""
    heavy = [i for i, row in enumerate(rows) if max(len(row.allowed_posts), len(row.blocked_posts)) > LIGHT_LIST]
    light = [i for i in range(len(rows)) if i not in set(heavy)]
    return ([light] if light else []) + [[i] for i in heavy]
