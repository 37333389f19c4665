"""Reasons: what a user did, and what of it speaks for each post of a list. Pure.

The served model is linear in a user's history, so a reason is no guess beside the model but a part of its score: how
much a post of the history lifts this post above an average one. The history is the one that the release was trained
on, and the recent posts that the question named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import NO_TIME, GraphTensors, Int32Array
from waypost.model.kinds import teaches
from waypost.questions import AppKey
from waypost.release.lookups import NO_ROWS, Lookups, distinct

SHOWN_HISTORY = 12  # posts, the latest ones
SHOWN_TAGS = 10
SHOWN_REASONS = 2  # posts of the history for each recommended one
LEAST_SHARE = 0.1  # of all that the history says for a post; less is no reason
TITLE_CHARACTERS = 120
PEOPLE = 6  # to try the page with
PEOPLE_SEED = 1
FEWEST_POSTS = 4  # of somebody worth trying: a history that can be told
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PostTables:
    """What the model file holds of posts, and of how a history becomes a user's vector."""

    message: FloatArray  # [num_posts, d] what a post says of who read it
    vector: FloatArray  # [num_posts, d] what a user's vector is multiplied with
    weight: FloatArray  # [d, d], to be multiplied from the right
    alpha: float  # the power of the history's length that its sum is divided by


@dataclass(frozen=True, eq=False)
class Reasons:
    """Of one release: its graph, its lookups and its tables, whose rows are the same."""

    model_version: int
    tensors: GraphTensors
    lookups: Lookups
    tables: PostTables

    def people(self) -> list[str]:
        """Some users with a history, always the same ones."""
        posts = np.diff(self.lookups.seen.indptr)
        known = np.flatnonzero(posts >= FEWEST_POSTS)
        known = known if len(known) else np.flatnonzero(posts)
        chosen = np.random.default_rng(PEOPLE_SEED).permutation(known)[:PEOPLE]
        return [str(key) for key in self.lookups.users_at(np.sort(chosen))]

    def tell(self, user: AppKey, posts: Sequence[AppKey], recent: Sequence[AppKey]) -> dict[str, Any]:
        """As JSON: the user's history and tags, and for each of the posts, in their order, its title, tags and reasons.
        Keys are told as text: a browser's numbers do not hold 64 bits."""
        row = self.lookups.user_row(user)
        known = row < self.tensors.num_users
        history = self._history(row) if known else []
        return {
            "model_version": self.model_version,
            "known": known,
            "history_posts": len(history),
            "history": [self._event(*event) for event in history[:SHOWN_HISTORY]],
            "tags": self._tags([post for post, _, _ in history]),
            "posts": self._explained(posts, self._neighbours(row, recent)),
        }

    def _history(self, user: int) -> list[tuple[int, int, int]]:
        """(post, kind, microseconds) of his distinct posts, the latest first."""
        rows = np.arange(*np.searchsorted(self.tensors.interactions.user, [user, user + 1]))
        rows = rows[np.argsort(self.tensors.interactions.created_at[rows], kind="stable")[::-1]]
        latest: dict[int, tuple[int, int, int]] = {}
        for at in rows.tolist():
            post, kind = int(self.tensors.interactions.post[at]), int(self.tensors.interactions.kind[at])
            latest.setdefault(post, (post, kind, int(self.tensors.interactions.created_at[at])))
        return list(latest.values())

    def _neighbours(self, user: int, recent: Sequence[AppKey]) -> Int32Array:
        """The posts whose messages are in his vector, distinct."""
        rows = np.arange(*np.searchsorted(self.tensors.interactions.user, [user, user + 1]))
        learned = self.tensors.interactions.post[rows[self._teaches[rows]]] if len(rows) else NO_ROWS
        return distinct(np.concatenate([learned, self.lookups.known_posts(recent)]).astype(np.int32))

    def _explained(self, posts: Sequence[AppKey], neighbours: Int32Array) -> list[dict[str, Any]]:
        rows = [self.lookups.post_rows([post]) for post in posts]
        return [
            {"post_id": str(post), **self._described(int(row[0])), "reasons": self._reasons(int(row[0]), neighbours)}
            if len(row)
            else {"post_id": str(post), "title": f"post {post}", "tags": [], "reasons": []}
            for post, row in zip(posts, rows, strict=True)
        ]

    def _reasons(self, post: int, neighbours: Int32Array) -> list[dict[str, Any]]:
        """The posts of the history that lift it most, with their share of all that lifts it."""
        if not len(neighbours):
            return []
        lifts = self._lifts(post, neighbours)
        lifting = float(lifts[lifts > 0].sum())
        best = np.argsort(-lifts, kind="stable")[:SHOWN_REASONS]
        return [
            {
                **self._described(int(neighbours[at])),
                "share": float(lifts[at]) / lifting,
                "shared_tags": self._shared_tags(post, int(neighbours[at])),
            }
            for at in best
            if lifting > 0 and lifts[at] >= LEAST_SHARE * lifting
        ]

    def _lifts(self, post: int, neighbours: Int32Array) -> FloatArray:
        """[len(neighbours)] score that each adds to this post beyond what it adds to an average one."""
        divisor = np.float32(max(len(neighbours), 1) ** self.tables.alpha)
        added = (self.tables.message[neighbours] @ self.tables.weight) / divisor
        lifts: FloatArray = added @ (self.tables.vector[post] - self._average)
        return lifts

    @cached_property
    def _average(self) -> FloatArray:
        average: FloatArray = self.tables.vector.mean(axis=0)
        return average

    @cached_property
    def _teaches(self) -> NDArray[np.bool_]:
        return teaches(self.tensors)

    def _event(self, post: int, kind: int, microseconds: int) -> Mapping[str, Any]:
        return {
            **self._described(post),
            "kind": self.tensors.kinds[kind],
            "at": None if microseconds == NO_TIME else _iso(microseconds),
        }

    def _described(self, post: int) -> dict[str, Any]:
        (key,) = self.lookups.posts_at(np.array([post]))
        tags = [self.tensors.tag_names[tag] for tag in self.tensors.post_tags.row(post)]
        return {"post_id": str(key), "title": title_of(self.tensors.post_texts[post]) or f"post {key}", "tags": tags}

    def _tags(self, posts: Sequence[int]) -> list[dict[str, Any]]:
        """The tags that his posts carry most."""
        carried = [self.tensors.post_tags.row(post) for post in posts]
        tags, counts = np.unique(np.concatenate(carried), return_counts=True) if carried else (NO_ROWS, NO_ROWS)
        most = np.argsort(-counts, kind="stable")[:SHOWN_TAGS]
        return [{"tag": self.tensors.tag_names[int(tags[at])], "posts": int(counts[at])} for at in most]

    def _shared_tags(self, one: int, other: int) -> list[str]:
        shared = np.intersect1d(self.tensors.post_tags.row(one), self.tensors.post_tags.row(other))
        return [self.tensors.tag_names[int(tag)] for tag in shared]


def title_of(text: str) -> str:
    """The first line of a post's text that says anything, cut."""
    title = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return title if len(title) <= TITLE_CHARACTERS else title[: TITLE_CHARACTERS - 1] + "…"


def _iso(microseconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return None
