"""Fallbacks: what to show when no gateway answers: the app's own list, or the last popular answer that was seen.

Only an answer to the same tags is kept for them: what a filter keeps out must not come back by the fallback. A plain
list of the app's says nothing of tags, so a question with tags gets nothing from it; a function of the app's decides.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from pydantic import ValidationError

from waypost.client.answers import Recommendation
from waypost.client.errors import BadSetup
from waypost.http_models import Item, RecommendRequest
from waypost.questions import AppKey

Fallback = Sequence[AppKey] | Callable[[RecommendRequest], Sequence[AppKey]]
KEPT_FILTERS = 256  # different tag filters whose popular answer is kept: 100 posts each are about 5 MB in all
KEPT_SECONDS = 600.0  # a shorter list replaces a longer one that is older
logger = logging.getLogger(__name__)
_Filter = tuple[frozenset[str], frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class _Kept:
    items: Sequence[Item]
    at: float


class Fallbacks:
    """Safe for use by several threads."""

    def __init__(self, given: Fallback | None) -> None:
        """Raises BadSetup for what is neither a list of ids nor a function that gives one."""
        if isinstance(given, str | bytes) or not (given is None or callable(given) or isinstance(given, Sequence)):
            raise BadSetup("the fallback is no list of post ids", "give a list, or a function from the request to one")
        self._given = given if given is None or callable(given) else _checked(given)
        self._kept: OrderedDict[_Filter, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, request: RecommendRequest, answer: Recommendation, now: float) -> None:
        """Remember a popular answer: the same for everybody who asks with these tags."""
        if answer.source != "popular" or not answer.items:
            return
        wanted = _filter_of(request)
        with self._lock:
            old = self._kept.get(wanted)
            if old is None or len(answer.items) >= len(old.items) or now - old.at > KEPT_SECONDS:
                self._kept[wanted] = _Kept(tuple(answer.items), now)
            self._kept.move_to_end(wanted)
            while len(self._kept) > KEPT_FILTERS:
                self._kept.popitem(last=False)

    def items(self, request: RecommendRequest) -> list[Item] | None:
        """At most k, without what the question itself excludes; None where there is nothing to fall back to."""
        found = self._found(request)
        if found is None:
            return None
        barred = {*request.exclude_post_ids, *(request.recent_post_ids if request.exclude_seen else ())}
        return list(islice((item for item in found if item.post_id not in barred), request.k))

    def _found(self, request: RecommendRequest) -> Iterable[Item] | None:
        given = self._from_app(request)
        if given:
            return given
        with self._lock:
            kept = self._kept.get(_filter_of(request))
        if kept:
            return kept.items
        return None if given is None else ()

    def _from_app(self, request: RecommendRequest) -> Sequence[Item] | None:
        """None where the app gave no fallback."""
        if not callable(self._given):
            return () if self._given and any(_filter_of(request)) else self._given
        try:
            return _items(self._given(request))
        except Exception:  # the app's own code, and the call must not fail by it
            logger.exception("the fallback of the app failed")
            return ()


def _items(posts: Iterable[AppKey]) -> Sequence[Item]:
    """Raises ValidationError or TypeError for what is no id. Nobody scored them."""
    return tuple(Item(post_id=post_id, score=0.0) for post_id in dict.fromkeys(posts))


def _checked(posts: Iterable[AppKey]) -> Sequence[Item]:
    try:
        return _items(posts)
    except (ValidationError, TypeError):
        raise BadSetup("the fallback holds what is no post id", "give a list of integers or of texts") from None


def _filter_of(request: RecommendRequest) -> _Filter:
    tags = request.tags
    any_of, all_of, none_of = (frozenset(map(str.casefold, names)) for names in (tags.any, tags.all, tags.none))
    return any_of, all_of, none_of
