"""PopularList: the release's posts by popularity, and the answer from it when the model's does not come in time.

Pure. A tag's posts are positions in the list, whose order is the answer's. Filters are sets of bits, one for each
position, so that fifty tags of a large catalogue cost a millisecond of the event loop and not a second. The bits of
frequent tags are kept; those of a rare one are quickly made. Everything is held in arrays, which the garbage collector
need not walk through.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from waypost.errors import CorruptObject
from waypost.key_types import INTEGER_KEYS, KeyTypes, parse_key_types
from waypost.questions import AppKey, Question, TagFilter
from waypost.release.store import POPULAR

# A tag of at least this share of the posts keeps its bits: at most 16 bytes for each of its positions. A rarer one of
# 200,000 posts has 1,600 positions, whose bits are made in 0.1 ms.
FREQUENT_SHARE = 1 / 128


@dataclass(frozen=True)
class PopularList:
    version: int
    posts: Sequence[AppKey]  # the app's own post ids by descending score, ties by ascending id
    scores: Sequence[float]  # [len(posts)]
    tags: Mapping[str, Sequence[int]]  # case-folded name -> positions in posts
    keys: KeyTypes = INTEGER_KEYS
    _kept: Mapping[str, int] = field(init=False, repr=False, compare=False)  # the bits of frequent tags

    def __post_init__(self) -> None:
        least = len(self.posts) * FREQUENT_SHARE
        kept = {name: _bits(positions) for name, positions in self.tags.items() if len(positions) >= least}
        object.__setattr__(self, "_kept", kept)

    def items(self, question: Question) -> tuple[tuple[AppKey, float], ...]:
        """The k most popular eligible posts, fewer only where fewer are eligible."""
        barred = {*question.exclude_post_ids, *(question.recent_post_ids if question.exclude_seen else ())}
        found = (position for position in self._matching(question.tags) if self.posts[position] not in barred)
        return tuple((self.posts[position], self.scores[position]) for position in islice(found, question.k))

    def _matching(self, tags: TagFilter) -> Iterable[int]:
        """Positions of the posts that the filter lets through, ascending."""
        if not tags:
            return range(len(self.posts))
        eligible = self._any_of(tags.any) if tags.any else (1 << len(self.posts)) - 1
        for name in tags.all:
            eligible &= self._tagged(name)
        return _positions(eligible & ~self._any_of(tags.none))

    def _any_of(self, names: Iterable[str]) -> int:
        found = 0
        for name in names:
            found |= self._tagged(name)
        return found

    def _tagged(self, name: str) -> int:
        """The bits of the posts with this tag; an unknown tag has none."""
        folded = name.casefold()
        kept = self._kept.get(folded)
        return kept if kept is not None else _bits(self.tags.get(folded, ()))


def _bits(positions: Sequence[int]) -> int:
    found = bytearray(max(positions, default=0) // 8 + 1)
    for position in positions:
        found[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(found, "little")


def _positions(bits: int) -> Iterator[int]:
    """Where bits are set, ascending; found as they are asked for."""
    for at, byte in enumerate(bits.to_bytes(bits.bit_length() // 8 + 1, "little")):
        left = byte
        while left:
            lowest = left & -left
            yield at * 8 + lowest.bit_length() - 1
            left ^= lowest


def parse_popular(body: bytes) -> PopularList:
    """Raises CorruptObject for anything that is not a whole popularity list.

    In a thread beside the event loop, so piece by piece: orjson would hold the interpreter, and with it every request,
    until all of it is parsed. Here Python is called for each number, and may turn to a request instead.
    """
    try:
        return _popular(json.loads(body, parse_int=_integer, parse_float=_float))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptObject(f"{POPULAR} is no popularity list: {type(error).__name__}") from None


def _integer(digits: str) -> int:
    return int(digits)


def _float(digits: str) -> float:
    return float(digits)


def _popular(content: Any) -> PopularList:
    """Raises ValueError, KeyError, TypeError, AttributeError or OverflowError for what is not whole."""
    version, keys = content["version"], parse_key_types(content.get("keys"))
    posts = _posts(content.pop("posts"), keys)  # popped, so that the numbers go part by part as well
    scores = array("d", content.pop("scores"))
    tags = content.pop("tags")
    for name in tags:
        tags[name] = array("I", tags[name])
    whole = (
        type(version) is int
        and len(scores) == len(posts)
        and all(math.isfinite(score) for score in scores)
        and all(max(positions, default=-1) < len(posts) for positions in tags.values())
    )
    if not whole:
        raise ValueError("it contradicts itself")
    return PopularList(version, posts, scores, tags, keys)


def _posts(content: Any, keys: KeyTypes) -> Sequence[AppKey]:
    if keys.post == "integer":
        return array("q", content)
    if not isinstance(content, list) or not all(type(post) is str for post in content):
        raise TypeError("posts are no texts")
    return tuple(content)
