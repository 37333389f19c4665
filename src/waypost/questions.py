"""Question and Answer: what a caller asks and what the model says, without HTTP, queue or tensors around them.

The gateway makes Questions, the queue carries them, a release answers them; the offline verb asks the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    """One request for k posts. Ids are the app's own, not indices."""

    user_id: int
    k: int = 20
    recent_post_ids: tuple[int, ...] = ()
    exclude_post_ids: tuple[int, ...] = ()
    tags: TagFilter = TagFilter()
    query: str | None = None
    exclude_seen: bool = True


@dataclass(frozen=True)
class Answer:
    """Posts by descending score, ties by ascending post_id; `model_version` is the release's integer."""

    model_version: int | None
    source: Source
    items: tuple[tuple[int, float], ...]  # (post_id, score)
