"""PopularList: the release's posts by popularity, and the answer from it when the model's does not come in time.

Pure. Tags are looked up as ascending positions in the list, which is also their order in the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson

from waypost.errors import CorruptObject
from waypost.questions import AppKey, Question, TagFilter
from waypost.release.key_types import INTEGER_KEYS, KeyTypes, parse_key_types
from waypost.release.store import POPULAR


@dataclass(frozen=True)
class PopularList:
    version: int
    posts: Sequence[AppKey]  # the app's own post ids by descending score, ties by ascending id
    scores: Sequence[float]  # [len(posts)]
    tags: Mapping[str, Sequence[int]]  # case-folded name -> ascending positions in posts
    keys: KeyTypes = INTEGER_KEYS

    def items(self, question: Question) -> tuple[tuple[AppKey, float], ...]:
        """The k most popular eligible posts, fewer only where fewer are eligible."""
        barred = {*question.exclude_post_ids, *(question.recent_post_ids if question.exclude_seen else ())}
        found = (position for position in self._matching(question.tags) if self.posts[position] not in barred)
        return tuple((self.posts[position], self.scores[position]) for position in islice(found, question.k))

    def _matching(self, tags: TagFilter) -> Iterable[int]:
        """Positions of the posts that the filter lets through, ascending."""
        if not tags:
            return range(len(self.posts))
        barred = set().union(*self._positions(tags.none))
        wanted = self._wanted(tags)
        return (position for position in wanted if position not in barred)

    def _wanted(self, tags: TagFilter) -> Iterable[int]:
        some = set().union(*self._positions(tags.any))
        if not tags.all:
            return sorted(some) if tags.any else range(len(self.posts))
        rarest, *others = sorted(self._positions(tags.all), key=len)
        every = set(rarest).intersection(*others)
        return sorted(every & some if tags.any else every)

    def _positions(self, names: Iterable[str]) -> list[Sequence[int]]:
        return [self.tags.get(name.casefold(), ()) for name in names]


def parse_popular(body: bytes) -> PopularList:
    """Raises CorruptObject for anything that is not a whole popularity list."""
    try:
        content = orjson.loads(body)
        keys = parse_key_types(content.get("keys"))
        found = PopularList(content["version"], content["posts"], content["scores"], content["tags"], keys)
        if not _is_whole(found):
            raise CorruptObject(f"{POPULAR} contradicts itself")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObject(f"{POPULAR} is no popularity list: {type(error).__name__}") from None
    return found


def _is_whole(found: PopularList) -> bool:
    count = len(found.posts)
    post_type = int if found.keys.post == "integer" else str
    return (
        type(found.version) is int
        and len(found.scores) == count
        and all(type(post) is post_type for post in found.posts)
        and all(type(score) in (int, float) and math.isfinite(score) for score in found.scores)
        and all(type(p) is int and 0 <= p < count for positions in found.tags.values() for p in positions)
    )
