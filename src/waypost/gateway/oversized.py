"""What to tell of a body that has more values than any request: the fields that are wrong, as for every other body.

pydantic is not asked about all of it: it makes an error for each of a quarter of a million values. Lists are counted
here, and pydantic looks at the beginning of each.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

import orjson
from pydantic import ValidationError

from waypost.http_models import RecommendRequest, Tags, WrongField, too_long, wrong_fields
from waypost.limits import MAX_EXCLUDE, MAX_RECENT, MAX_TAGS

MAX_PROBLEMS = 20  # told in one 422: enough to mend a request, however many of its 10,000 ids are wrong
MAX_CONTAINERS = 20_000  # lists and objects: made of each, they wake the garbage collector; a request has seven
DEEPEST = 3  # root, tags, any, a name
TOO_MANY = WrongField((), "More values than a request may have", "too_long")
_NAMES = (*RecommendRequest.model_fields, *Tags.model_fields)


def wrong_fields_of(body: bytes, model: type[RecommendRequest]) -> list[WrongField]:
    """At least one, at most MAX_PROBLEMS."""
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        return [TOO_MANY]
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return [WrongField((), f"Invalid JSON: {error}", "json_invalid")]
    found = [*_too_long_lists(content), *_wrong_at_the_beginning(content, model)]
    return found[:MAX_PROBLEMS] or [TOO_MANY]


def _too_long_lists(content: Any) -> list[WrongField]:
    limits: list[tuple[tuple[str, ...], int]] = [
        (("recent_post_ids",), MAX_RECENT),
        (("exclude_post_ids",), MAX_EXCLUDE),
        *((("tags", name), MAX_TAGS) for name in Tags.model_fields),
    ]
    lists = [(loc, most, _at(content, loc)) for loc, most in limits]
    return [too_long(loc, most, len(found)) for loc, most, found in lists if len(found) > most]


def _at(content: Any, loc: tuple[str, ...]) -> list[Any]:
    for name in loc:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, list) else []


def _wrong_at_the_beginning(content: Any, model: type[RecommendRequest]) -> list[WrongField]:
    try:
        model.model_validate_json(orjson.dumps(_cut(content, 0)))
    except ValidationError as error:
        return wrong_fields(error, MAX_PROBLEMS)
    return []


def _cut(value: Any, depth: int) -> Any:
    """The same with the beginning of each list and object; our own fields stay, wherever they stand."""
    if isinstance(value, dict):
        ours = ((name, value[name]) for name in _NAMES if name in value)
        others = ((name, each) for name, each in value.items() if name not in _NAMES)
        kept = chain(ours, islice(others, MAX_PROBLEMS)) if depth < DEEPEST else ()
        return {name: _cut(each, depth + 1) for name, each in kept}
    if isinstance(value, list):
        return [_cut(each, depth + 1) for each in islice(value, MAX_PROBLEMS)] if depth < DEEPEST else []
    return value
