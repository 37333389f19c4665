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
from waypost.gateway.oversized import MAX_PROBLEMS, wrong_fields_of
from waypost.http_models import (
    Models,
    RecommendParameters,
    RecommendRequest,
    RecommendResponse,
    WrongField,
    models_for,
    wrong_fields,
)
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.protocols import MAX_BATCH_BYTES

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

MAX_SHOWN_NAME = 100  # characters of a field's name in a 422
ENVELOPE_BYTES = 512  # of a message beside its question: request id, times, reply address, signature
ALWAYS_SENDABLE_BYTES = (MAX_BATCH_BYTES - ENVELOPE_BYTES) // 2  # what SQS wants escaped doubles, and nothing more
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

    def __init__(self, place: str, problems: Iterable[WrongField]) -> None:
        super().__init__("invalid request")
        self.body = orjson.dumps({"detail": [_told(place, problem) for problem in problems]})


def parse_body(body: bytes, keys: KeyTypes = INTEGER_KEYS) -> RecommendRequest:
    """Raises InvalidRequest naming each wrong field."""
    model = models_for(keys).request
    try:
        require_plausible(body)
        asked = model.model_validate_json(body)
    except TooManyValues:
        raise InvalidRequest("body", wrong_fields_of(body, model)) from None
    except ValidationError as error:
        raise InvalidRequest("body", wrong_fields(error, MAX_PROBLEMS)) from None
    if len(body) > ALWAYS_SENDABLE_BYTES:
        _require_sendable(asked)
    return asked


def _require_sendable(asked: RecommendRequest) -> None:
    """Raises InvalidRequest for what no message holds: only ids that are long texts can come to that."""
    message = encode(RecommendMessage(asked.question(), "", 0.0, 0.0, ""))
    if len(message) > MAX_BATCH_BYTES - ENVELOPE_BYTES:
        said = f"With the rest of the question longer than a message on the queue, {MAX_BATCH_BYTES} bytes"
        raise InvalidRequest("body", [WrongField(("exclude_post_ids",), said, "too_long")])


def parse_parameters(pairs: Iterable[tuple[str, str]], keys: KeyTypes = INTEGER_KEYS) -> RecommendParameters:
    """The query string's pairs, decoded. Raises InvalidRequest naming each wrong parameter."""
    pairs = list(pairs)
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise InvalidRequest("query", (WrongField((name,), "Given more than once", "repeated") for name in repeated))
    integers = _INTEGER_PARAMETERS | ({"user_id"} if keys.user == "integer" else set())
    try:
        typed = {name: _typed(name, text, name in integers) for name, text in pairs}
        return models_for(keys).parameters.model_validate(typed)
    except ValidationError as error:
        raise InvalidRequest("query", wrong_fields(error, MAX_PROBLEMS)) from None


def _typed(name: str, text: str, is_integer: bool) -> int | bool | str:
    if is_integer and _INTEGER.fullmatch(text):
        return int(text)
    if name == "exclude_seen":
        return _BOOLEANS.get(text, text)
    return text


def _told(place: str, problem: WrongField) -> dict[str, Any]:
    return {"loc": [place, *map(_shown, problem.loc)], "msg": problem.msg, "type": problem.type}


def _shown(part: int | str) -> int | str:
    """A field's name may be the caller's own, and as long as he likes."""
    return part if isinstance(part, int) else part[:MAX_SHOWN_NAME]
