"""What `/recommend` takes and gives, as pydantic models: strict types, limits, defaults and examples of the HTTP
contract.

The classes here say what is the same for every app; `models_for` makes those of one app, whose ids may be integers,
texts or UUIDs. pydantic stays at this edge; behind it there are only Questions and Answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from waypost.limits import (
    MAX_DEADLINE_MS,
    MAX_EXCLUDE,
    MAX_ID,
    MAX_K,
    MAX_KEY_CHARACTERS,
    MAX_QUERY_CHARACTERS,
    MAX_RECENT,
    MAX_TAGS,
    MIN_DEADLINE_MS,
    MIN_ID,
    MIN_K,
)
from waypost.questions import AppKey, Question, TagFilter
from waypost.release.key_types import INTEGER_KEYS, KeyType, KeyTypes

MAX_SHOWN_NAME = 100  # characters of a field's name in a 422
MAX_PROBLEMS = 20  # told in one 422: enough to mend a request, however many of its 10,000 ids are wrong
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INTEGER_PARAMETERS = frozenset({"k", "deadline_ms"})
_BOOLEANS = {"true": True, "false": False}

_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"  # RFC 9562, in either case

IntegerId = Annotated[int, Field(ge=MIN_ID, le=MAX_ID, json_schema_extra={"format": "int64"})]
TextId = Annotated[str, Field(max_length=MAX_KEY_CHARACTERS)]
UuidId = Annotated[str, StringConstraints(pattern=_UUID, to_lower=True), Field(json_schema_extra={"format": "uuid"})]
M = TypeVar("M", bound=BaseModel)
_USER_ID = "the app's own id; a user that is not known yet is a normal request"
_RECENT = "posts of this session that the night has not seen yet"
_EXCLUDE = "posts never to answer"
_ITEMS = "k of them whenever so many posts are eligible"
Names = Annotated[tuple[str, ...], Field(max_length=MAX_TAGS)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Tags(_Strict):
    """Tag names, compared case-insensitively; an unknown name matches no post."""

    any: Names = Field((), description="posts with at least one of these", examples=[["beach", "island"]])
    all: Names = Field((), description="posts with every one of these", examples=[["family"]])
    none: Names = Field((), description="posts with not one of these", examples=[["nightlife"]])


class _Asked(_Strict):
    """What both ways of asking share."""

    user_id: AppKey
    k: int = Field(20, ge=MIN_K, le=MAX_K, description="posts wanted")
    query: str | None = Field(None, max_length=MAX_QUERY_CHARACTERS, description="free text to rank by")
    exclude_seen: bool = Field(True, description="leave out what the user has seen, recent_post_ids included")
    deadline_ms: int = Field(
        250, ge=MIN_DEADLINE_MS, le=MAX_DEADLINE_MS, description="the answer comes within this many milliseconds"
    )


class RecommendParameters(_Asked):
    """`GET /recommend?user_id=…`, for people."""

    def question(self) -> Question:
        return Question(user_id=self.user_id, k=self.k, query=self.query, exclude_seen=self.exclude_seen)


class RecommendRequest(_Asked):
    """One question: k posts for one user."""

    recent_post_ids: tuple[AppKey, ...] = ()
    exclude_post_ids: tuple[AppKey, ...] = ()
    tags: Tags = Tags(any=(), all=(), none=())

    def question(self) -> Question:
        return Question(
            user_id=self.user_id,
            k=self.k,
            recent_post_ids=self.recent_post_ids,
            exclude_post_ids=self.exclude_post_ids,
            tags=TagFilter(self.tags.any, self.tags.all, self.tags.none),
            query=self.query,
            exclude_seen=self.exclude_seen,
        )


class Item(BaseModel):
    post_id: AppKey
    score: float = Field(examples=[0.87])


class RecommendResponse(BaseModel):
    """Posts by descending score, ties by ascending post_id."""

    request_id: str = Field(examples=["5d41402abc4b2a76b9719d911017c592"])
    user_id: AppKey
    model_version: int | None = Field(description="the release's integer; null when none was involved", examples=[7])
    source: Literal["graphsage", "popular"] = Field(description="graphsage whenever the model ranked")
    degraded: bool = Field(description="the model should have ranked and did not", examples=[False])
    items: list[Item]


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


@dataclass(frozen=True)
class Models:
    """What `/recommend` takes and gives where ids are of certain types."""

    request: type[RecommendRequest]
    parameters: type[RecommendParameters]
    response: type[RecommendResponse]


@dataclass(frozen=True)
class _Form:
    """A key type in JSON, with examples for the document."""

    id: Any  # what pydantic checks
    ids: Any
    user: AppKey
    posts: tuple[AppKey, AppKey, AppKey]


_FORMS: dict[KeyType, _Form] = {
    "integer": _Form(IntegerId, tuple[IntegerId, ...], 42, (7, 19, 3)),
    "text": _Form(TextId, tuple[TextId, ...], "ana", ("hidden-coves", "slow-trains", "old-town")),
    "uuid": _Form(
        UuidId,
        tuple[UuidId, ...],
        "6f1d3a52-8c04-4b7e-9a35-2d5c0e7b9f10",
        (
            "0b9e6c1a-47d2-4f38-8e5b-c3a1f0d27e64",
            "d24c7f80-1e3b-49a6-b0f5-7c8e2a916d53",
            "93a5e0f7-6b28-4d1c-a4e9-5f07b8d3c216",
        ),
    ),
}


@cache
def models_for(keys: KeyTypes) -> Models:
    user, post = _FORMS[keys.user], _FORMS[keys.post]
    user_id = (user.id, Field(description=_USER_ID, examples=[user.user]))
    recent = (post.ids, Field((), max_length=MAX_RECENT, description=_RECENT))
    exclude = (post.ids, Field((), max_length=MAX_EXCLUDE, description=_EXCLUDE))
    item = _narrowed(Item, post_id=(post.id, Field(examples=[post.posts[1]])))
    items = (list[item], Field(description=_ITEMS))  # type: ignore[valid-type]
    examples = {"json_schema_extra": {"examples": _example_requests(user, post)}}
    request = {"user_id": user_id, "recent_post_ids": recent, "exclude_post_ids": exclude}
    return Models(
        _narrowed(RecommendRequest, examples, **request),
        _narrowed(RecommendParameters, user_id=user_id),
        _narrowed(RecommendResponse, user_id=(user.id, Field(examples=[user.user])), items=items),
    )


def _narrowed(model: type[M], config: dict[str, Any] | None = None, /, **fields: Any) -> type[M]:
    """The model under its own name, with (type, Field) of some of its fields."""
    made: type[M] = create_model(
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=__name__, __cls_kwargs__=config, **fields
    )
    return made


def _example_requests(user: _Form, post: _Form) -> list[dict[str, Any]]:
    whole = {
        "user_id": user.user,
        "k": 10,
        "recent_post_ids": post.posts[:2],
        "exclude_post_ids": post.posts[2:],
        "tags": {"any": ["beach", "island"], "none": ["nightlife"]},
        "query": "quiet coves",
        "deadline_ms": 250,
    }
    return [{"user_id": user.user}, whole]


def parse_body(body: bytes, keys: KeyTypes = INTEGER_KEYS) -> RecommendRequest:
    """Raises InvalidRequest naming each wrong field."""
    try:
        return models_for(keys).request.model_validate_json(body)
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
