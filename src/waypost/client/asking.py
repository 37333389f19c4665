"""Asked: one checked question, ready to be sent more than once.

It is checked by the very model that the gateway parses with, so a wrong one is found before it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ValidationError

from waypost.client.errors import InvalidRequest
from waypost.http_models import RecommendRequest, Tags, models_for
from waypost.key_types import KeyType, KeyTypes
from waypost.limits import MIN_DEADLINE_MS
from waypost.questions import AppKey

MILLISECONDS = 1_000
TagsGiven = Tags | Mapping[Literal["any", "all", "none"], Sequence[str]]


@dataclass(frozen=True)
class Asked:
    request: RecommendRequest
    fields: Mapping[str, Any]  # the body, as JSON has it

    def body(self, seconds: float) -> bytes:
        """The JSON of a try that has so many seconds."""
        told = max(MIN_DEADLINE_MS, int(seconds * MILLISECONDS))
        return orjson.dumps({**self.fields, "deadline_ms": told})

    @property
    def deadline_seconds(self) -> float:
        return self.request.deadline_ms / MILLISECONDS


def to_asked(
    user_id: AppKey,
    k: int,
    recent_post_ids: Sequence[AppKey],
    exclude_post_ids: Sequence[AppKey],
    tags: TagsGiven | None,
    query: str | None,
    exclude_seen: bool,
    deadline_ms: int,
) -> Asked:
    """Raises InvalidRequest naming each wrong field."""
    given = {
        "user_id": user_id,
        "k": k,
        "recent_post_ids": _listed("recent_post_ids", recent_post_ids),
        "exclude_post_ids": _listed("exclude_post_ids", exclude_post_ids),
        "tags": _tags(tags),
        "query": query,
        "exclude_seen": exclude_seen,
        "deadline_ms": deadline_ms,
    }
    fields = {name: value for name, value in given.items() if value is not None and not _is_empty(value)}
    keys = KeyTypes(_type_of([user_id]), _type_of([*recent_post_ids, *exclude_post_ids]))
    try:
        return Asked(models_for(keys).request.model_validate_json(orjson.dumps(fields)), fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequest([(".".join(map(str, each["loc"])), each["msg"]) for each in found]) from None
    except TypeError as error:  # an id that JSON does not have, such as numpy's or a UUID object
        raise InvalidRequest([("question", f"{error}; ids are int or str")]) from None


def _is_empty(value: object) -> bool:
    return isinstance(value, list) and not value  # what else there is may be no truth value at all, such as numpy's


def _listed(field: str, ids: Sequence[AppKey]) -> list[AppKey]:
    if isinstance(ids, str | bytes):
        raise InvalidRequest([(field, "a list of ids is wanted, not one text")])
    try:
        return list(ids)
    except TypeError:
        raise InvalidRequest([(field, "a list of ids is wanted")]) from None


def _tags(tags: TagsGiven | None) -> Any:
    return tags.model_dump() if isinstance(tags, BaseModel) else tags


def _type_of(ids: Sequence[object]) -> KeyType:
    """What the gateway will take these for; of a UUID it takes the text."""
    return "text" if ids and isinstance(ids[0], str) else "integer"
