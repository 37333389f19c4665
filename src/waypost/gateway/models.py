"""From the bytes of a request to its model, and from what is wrong with them to the 422 that names each field.

The models themselves are `http_models`, which the client shares. pydantic stays at this edge; behind it there are only
Questions and Answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from waypost.gateway.body_shape import TooManyValues, require_plausible
from waypost.http_models import Models, RecommendParameters, RecommendRequest, RecommendResponse, models_for
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.limits import MAX_EXCLUDE, MAX_RECENT, MAX_TAGS

__all__ = [
    "MAX_PROBLEMS",
    "InvalidRequest",
    "Models",
    "Problem",
    "Problems",
    "RecommendParameters",
    "RecommendRequest",
    "RecommendResponse",
    "Refusal",
    "models_for",
    "parse_body",
    "parse_parameters",
]

TOO_MANY = (
    f"More values than a request may have: exclude_post_ids takes {MAX_EXCLUDE}, recent_post_ids {MAX_RECENT}, "
    f"each list of tags {MAX_TAGS}"
)
MAX_SHOWN_NAME = 100  # characters of a field's name in a 422
MAX_PROBLEMS = 20  # told in one 422: enough to mend a request, however many of its 10,000 ids are wrong
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INTEGER_PARAMETERS = frozenset({"k", "deadline_ms"})
_BOOLEANS = {"true": True, "false": False}


class Problem(BaseModel):
    loc: list[str | int] = Field(description="where it is", examples=[["body", "k"]])
    msg: str = Field(examples=["Input should be less than or equal to 100"])
    type: str = Field(examples=["less_than_equal"])


class Problems(BaseModel):
    detail: list[Problem]


class Refusal(BaseModel):
    detail: str


class InvalidRequest(Exception):
    """422 and its body: an answer, not an accident."""

    def __init__(self, problems: Iterable[dict[str, Any]]) -> None:
        super().__init__("invalid request")
        self.body = orjson.dumps({"detail": list(problems)})


def parse_body(body: bytes, keys: KeyTypes = INTEGER_KEYS) -> RecommendRequest:
    """Raises InvalidRequest naming each wrong field."""
    try:
        require_plausible(body)
        return models_for(keys).request.model_validate_json(body)
    except TooManyValues:
        raise InvalidRequest([{"loc": ["body"], "msg": TOO_MANY, "type": "too_long"}]) from None
    except ValidationError as error:
        raise InvalidRequest(_problems(error, "body")) from None


def parse_parameters(pairs: Iterable[tuple[str, str]], keys: KeyTypes = INTEGER_KEYS) -> RecommendParameters:
    """The query string's pairs, decoded. Raises InvalidRequest naming each wrong parameter."""
    pairs = list(pairs)
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise InvalidRequest(
            {"loc": ["query", _shown(name)], "msg": "Given more than once", "type": "repeated"} for name in repeated
        )
    integers = _INTEGER_PARAMETERS | ({"user_id"} if keys.user == "integer" else set())
    try:
        typed = {name: _typed(name, text, name in integers) for name, text in pairs}
        return models_for(keys).parameters.model_validate(typed)
    except ValidationError as error:
        raise InvalidRequest(_problems(error, "query")) from None


def _typed(name: str, text: str, is_integer: bool) -> int | bool | str:
    if is_integer and _INTEGER.fullmatch(text):
        return int(text)
    if name == "exclude_seen":
        return _BOOLEANS.get(text, text)
    return text


def _problems(error: ValidationError, place: str) -> list[dict[str, Any]]:
    """Without the input: it may be long, and it is the caller's."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
    return [
        {"loc": [place, *map(_shown, problem["loc"])], "msg": problem["msg"], "type": problem["type"]}
        for problem in found
    ]


def _shown(part: int | str) -> int | str:
    """A field's name may be the caller's own, and as long as he likes."""
    return part if isinstance(part, int) else part[:MAX_SHOWN_NAME]
