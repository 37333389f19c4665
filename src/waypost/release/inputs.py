"""Questions -> the model's rows: who asks, what he did since the night, and what may be an answer.

What may be an answer goes to the model as the cheaper of two lists: the posts allowed, or the posts blocked. The model
scores allowed posts once more, so one of them costs as much as several blocked ones (figures in docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Int32Array
from waypost.model.signature import Row
from waypost.questions import Question, TagFilter
from waypost.release.lookups import NO_ROWS, Lookups, distinct, within, without

ALLOWED_COST = 5  # of an allowed post, in blocked ones
MAX_ALLOWED = 1 << 18  # posts whose vectors the model gathers for one row: 134 MB at 128 dimensions


@dataclass(frozen=True)
class Inputs:
    """Questions as the model sees them, together."""

    lookups: Lookups
    only_posts: Int32Array | None  # ascending: no others are ranked; None: every post

    def rows(self, questions: Sequence[Question], tokens: Sequence[list[int]]) -> list[Row]:
        """One row for each question and the tokens of its query."""
        users = self.lookups.user_rows([question.user_id for question in questions])
        return [self._row(*each) for each in zip(questions, users, tokens, strict=True)]

    def tells_something(self, row: Row) -> bool:
        """Whether the model has anything to go by; else popularity answers."""
        given = len(row.recent_posts) or len(row.query_tokens) or len(row.profile_tags)
        return bool(given) or self._has_state(row.user_index)

    def _row(self, question: Question, user: int, tokens: list[int]) -> Row:
        lookups = self.lookups
        recent = distinct(lookups.known_posts(question.recent_post_ids))
        seen = lookups.seen_rows(user)
        blocked = [lookups.known_posts(question.exclude_post_ids)]
        if question.exclude_seen:
            blocked += [seen, recent]
        new = without(recent, seen) if len(recent) else recent  # an edge that the night had is no new neighbour
        restricted, allowed, barred = self._filter(question.tags, _joined(blocked))
        return Row(
            user_index=user,
            recent_posts=new,
            query_tokens=tokens,
            profile_tags=self._profile(question, user, new),
            restricted=restricted,
            allowed_posts=allowed,
            blocked_posts=barred,
        )

    def _filter(self, tags: TagFilter, blocked: Int32Array) -> tuple[bool, Int32Array, Int32Array]:
        """(restricted, allowed, blocked): of the last two one is empty."""
        allowed = self._allowed(tags)
        unwanted = self.lookups.posts_with_any(tags.none) if tags.none else NO_ROWS
        blocked = _joined([blocked, unwanted])
        if allowed is None:
            return False, NO_ROWS, blocked
        num_posts = self.lookups.sizes.num_posts
        allowed = allowed[~_marked(blocked, num_posts)[allowed]] if len(blocked) else allowed
        if len(allowed) <= MAX_ALLOWED and ALLOWED_COST * len(allowed) <= num_posts - len(allowed):
            return True, allowed, NO_ROWS
        return False, NO_ROWS, np.flatnonzero(~_marked(allowed, num_posts)).astype(np.int32)

    def _allowed(self, tags: TagFilter) -> Int32Array | None:
        """Rows with the tags wanted that are among `only_posts`, ascending; None where neither says anything."""
        wanted = [self.lookups.posts_with_any(tags.any)] if tags.any else []
        wanted += [self.lookups.posts_with_all(tags.all)] if tags.all else []
        wanted += [self.only_posts] if self.only_posts is not None else []
        if not wanted:
            return None
        fewest, *others = sorted(wanted, key=len)
        for posts in others:
            fewest = within(fewest, posts)
        return fewest

    def _profile(self, question: Question, user: int, recent: Int32Array) -> list[int]:
        """Wanted tags stand for the taste of a user who has shown none."""
        if not (question.tags.any or question.tags.all) or len(recent) or self._has_state(user):
            return []
        return self.lookups.tag_rows([*question.tags.any, *question.tags.all])

    def _has_state(self, user: int) -> bool:
        return user < len(self.lookups.user_ids) and bool(self.lookups.user_has_state[user])


def _joined(lists: Sequence[Int32Array]) -> Int32Array:
    """One after the other; a single one that is not empty as it is."""
    filled = [rows for rows in lists if len(rows)]
    if len(filled) > 1:
        return np.concatenate(filled)
    return filled[0] if filled else NO_ROWS


def _marked(rows: Int32Array, count: int) -> NDArray[np.bool_]:
    """[count] whether each row is among these."""
    mask = np.zeros(count, bool)
    mask[rows] = True
    return mask
