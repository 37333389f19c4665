"""Asked: one checked question, ready to be sent more than once.

It is checked by the very model that the gateway parses with, so a wrong one is found before it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import ValidationError

from waypost import http_models
from waypost.client.errors import InvalidRequest
from waypost.http_models import RecommendRequest, models_for, wrong_fields
from waypost.key_types import KeyType, KeyTypes
from waypost.limits import MIN_DEADLINE_MS
from waypost.questions import AppKey

MILLISECONDS = 1_000
MAX_PROBLEMS = 20  # told at once
NULLABLE = ("tags", "query")  # None is as good as not given
IDS = "ids are int or str"
ID_FIELDS = ("user_id", "recent_post_ids", "exclude_post_ids")


class Tags(http_models.Tags):
    """Tag names, compared case-insensitively; an unknown name matches no post. Lists, tuples or sets of names."""

    def __init__(
        self,
        *,
        any: Iterable[str] = (),  # noqa: A002  as the request calls it
        all: Iterable[str] = (),  # noqa: A002
        none: Iterable[str] = (),
    ) -> None:
        """Raises InvalidRequest naming each wrong field."""
        given = ("any", any), ("all", all), ("none", none)
        any_of, all_of, none_of = (tuple(_listed(f"tags.{name}", names)) for name, names in given)
        try:
            super().__init__(any=any_of, all=all_of, none=none_of)
        except ValidationError as error:
            raise _refusal(error, "tags") from None


TagsGiven = http_models.Tags | Mapping[Literal["any", "all", "none"], Iterable[str]]


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
    fields = {name: value for name, value in given.items() if not (_is_empty(value) or _is_absent(name, value))}
    posts = [*given["recent_post_ids"], *given["exclude_post_ids"]]
    keys = KeyTypes(_type_of([user_id]), _type_of(posts))
    try:
        return Asked(models_for(keys).request.model_validate_json(orjson.dumps(fields)), fields)
    except ValidationError as error:
        raise _refusal(error) from None
    except TypeError:
        raise InvalidRequest([_not_json(fields)]) from None


def _refusal(error: ValidationError, *place: str) -> InvalidRequest:
    found = wrong_fields(error, MAX_PROBLEMS)
    return InvalidRequest([(".".join(map(str, (*place, *each.loc))), each.msg) for each in found])


def _not_json(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The first field that JSON does not have, such as an id of numpy's, or half a surrogate pair."""
    for name, value in fields.items():
        try:
            orjson.dumps(value)
        except TypeError as error:
            return name, f"{error}; {IDS}" if name in ID_FIELDS else str(error)
    return "question", "JSON does not have it"


def _is_absent(name: str, value: object) -> bool:
    return value is None and name in NULLABLE


def _is_empty(value: object) -> bool:
    return isinstance(value, list) and not value  # what else there is may be no truth value at all, such as numpy's


def _listed(field: str, given: Iterable[Any]) -> list[Any]:
    if isinstance(given, str | bytes | Mapping):
        raise InvalidRequest([(field, f"a list is wanted, not one {type(given).__name__}")])
    try:
        return list(given)
    except TypeError:
        raise InvalidRequest([(field, f"a list is wanted, not {type(given).__name__}")]) from None


def _tags(tags: TagsGiven | None) -> Any:
    if tags is None or isinstance(tags, http_models.Tags):
        return tags and tags.model_dump()
    if not isinstance(tags, Mapping):
        raise InvalidRequest([("tags", "Tags(any=…, all=…, none=…) is wanted, or a dict of these")])
    return {str(name): _listed(f"tags.{name}", names) for name, names in tags.items()}


def _type_of(ids: Sequence[object]) -> KeyType:
    """What the gateway will take these for; of a UUID it takes the text, which is how JSON writes a UUID object."""
    return "text" if ids and isinstance(ids[0], str | UUID) else "integer"
