"""Question and Answer: what a caller asks and what the model says, without HTTP, queue or tensors around them.

The gateway makes Questions, the queue carries them, a release answers them; the offline verb asks the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeGuard

from waypost.limits import MAX_ID, MAX_KEY_CHARACTERS, MIN_ID

AppKey = int | str  # an id as the app has it: a JSON integer, or a JSON string where its key is text or a UUID
Source = Literal["graphsage", "popular"]


@dataclass(frozen=True)
class TagFilter:
    """Tag names, compared case-insensitively; an unknown name matches no post."""

    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.any or self.all or self.none)


@dataclass(frozen=True)
class Question:
    """One request for k posts. Ids are the app's own keys, not indices."""

    user_id: AppKey
    k: int = 20
    recent_post_ids: tuple[AppKey, ...] = ()
    exclude_post_ids: tuple[AppKey, ...] = ()
    tags: TagFilter = TagFilter()
    query: str | None = None
    exclude_seen: bool = True


@dataclass(frozen=True)
class Answer:
    """Posts by descending score, ties by ascending post_id; `model_version` is the release's integer."""

    model_version: int | None
    source: Source
    items: tuple[tuple[AppKey, float], ...]  # (post_id, score)


def is_app_key(value: object) -> TypeGuard[AppKey]:
    """Whether a value out of JSON can be an id at all; of which type this app's ids are, only its release says."""
    if type(value) is int:
        return MIN_ID <= value <= MAX_ID
    return type(value) is str and len(value) <= MAX_KEY_CHARACTERS
