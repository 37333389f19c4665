"""What `/recommend` takes and gives, as pydantic models: strict types, limits, defaults and examples of the HTTP
contract.

pydantic stays at this edge; behind it there are only Questions and Answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from waypost.limits import (
    MAX_DEADLINE_MS,
    MAX_EXCLUDE,
    MAX_ID,
    MAX_K,
    MAX_QUERY_CHARACTERS,
    MAX_RECENT,
    MAX_TAGS,
    MIN_DEADLINE_MS,
    MIN_ID,
    MIN_K,
)
from waypost.questions import Question, TagFilter

MAX_SHOWN_NAME = 100  # characters of a field's name in a 422
MAX_PROBLEMS = 20  # told in one 422: enough to mend a request, however many of its 10,000 ids are wrong
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INTEGER_PARAMETERS = frozenset({"user_id", "k", "deadline_ms"})
_BOOLEANS = {"true": True, "false": False}

Id = Annotated[int, Field(ge=MIN_ID, le=MAX_ID, json_schema_extra={"format": "int64"})]
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

    user_id: Id = Field(description="the app's own id; a user that is not known yet is a normal request", examples=[42])
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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": 42},
                {
                    "user_id": 42,
                    "k": 10,
                    "recent_post_ids": [7, 19],
                    "exclude_post_ids": [3],
                    "tags": {"any": ["beach", "island"], "none": ["nightlife"]},
                    "query": "quiet coves",
                    "deadline_ms": 250,
                },
            ]
        }
    )

    recent_post_ids: Annotated[tuple[Id, ...], Field(max_length=MAX_RECENT)] = Field(
        (), description="posts of this session that the night has not seen yet"
    )
    exclude_post_ids: Annotated[tuple[Id, ...], Field(max_length=MAX_EXCLUDE)] = Field(
        (), description="posts never to answer"
    )
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
    post_id: Id = Field(examples=[19])
    score: float = Field(examples=[0.87])


class RecommendResponse(BaseModel):
    """Posts by descending score, ties by ascending post_id."""

    request_id: str = Field(examples=["5d41402abc4b2a76b9719d911017c592"])
    user_id: Id = Field(examples=[42])
    model_version: int | None = Field(description="the release's integer; null when none was involved", examples=[7])
    source: Literal["graphsage", "popular"] = Field(description="graphsage whenever the model ranked")
    degraded: bool = Field(description="the model should have ranked and did not", examples=[False])
    items: list[Item] = Field(description="k of them whenever so many posts are eligible")


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


def parse_body(body: bytes) -> RecommendRequest:
    """Raises InvalidRequest naming each wrong field."""
    try:
        return RecommendRequest.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(_problems(error, "body")) from None


def parse_parameters(pairs: Iterable[tuple[str, str]]) -> RecommendParameters:
    """The query string's pairs, decoded. Raises InvalidRequest naming each wrong parameter."""
    pairs = list(pairs)
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise InvalidRequest(
            {"loc": ["query", _shown(name)], "msg": "Given more than once", "type": "repeated"} for name in repeated
        )
    try:
        return RecommendParameters.model_validate({name: _typed(name, text) for name, text in pairs})
    except ValidationError as error:
        raise InvalidRequest(_problems(error, "query")) from None


def _typed(name: str, text: str) -> int | bool | str:
    if name in _INTEGER_PARAMETERS and _INTEGER.fullmatch(text):
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
