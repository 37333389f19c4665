"""What `/recommend` takes and gives, as pydantic models: strict types, limits, defaults and examples of the HTTP
contract. The gateway parses with them and `waypost.client` asks with them, so the two cannot disagree.

The classes here say what is the same for every app; `models_for` makes those of one app, whose ids may be integers,
texts or UUIDs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from waypost.key_types import KeyType, KeyTypes
from waypost.limits import (
    MAX_DEADLINE_MS,
    MAX_EXCLUDE,
    MAX_ID,
    MAX_K,
    MAX_KEY_CHARACTERS,
    MAX_QUERY_CHARACTERS,
    MAX_RECENT,
    MAX_TAG_CHARACTERS,
    MAX_TAGS,
    MIN_DEADLINE_MS,
    MIN_ID,
    MIN_K,
)
from waypost.questions import AppKey, Question, TagFilter

_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"  # RFC 9562, in either case

IntegerId = Annotated[int, Field(ge=MIN_ID, le=MAX_ID, json_schema_extra={"format": "int64"})]
TextId = Annotated[str, Field(max_length=MAX_KEY_CHARACTERS)]
UuidId = Annotated[str, StringConstraints(pattern=_UUID, to_lower=True), Field(json_schema_extra={"format": "uuid"})]
M = TypeVar("M", bound=BaseModel)
_USER_ID = "the app's own id; a user that is not known yet is a normal request"
_RECENT = "posts of this session that the night has not seen yet"
_EXCLUDE = "posts never to answer"
_ITEMS = "k of them whenever so many posts are eligible"
Name = Annotated[str, Field(max_length=MAX_TAG_CHARACTERS)]
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_TAGS, strict=False)]  # Python's callers may give a list


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Tags(_Strict):
    """Tag names, compared case-insensitively; an unknown name matches no post.

    For a user of whom nothing is known `any` and `all` also say what to rank by; `none` only filters.
    """

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


class Recommended(BaseModel):
    """What an answer holds, the client's own fallback included."""

    request_id: str | None = Field(examples=["5d41402abc4b2a76b9719d911017c592"])
    user_id: AppKey
    model_version: int | None = Field(description="the release's integer; null when none was involved", examples=[7])
    source: Literal["graphsage", "popular", "fallback"]  # the last is no gateway's word
    degraded: bool = Field(description="the model should have ranked and did not", examples=[False])
    items: list[Item]


class RecommendResponse(Recommended):
    """Posts by descending score, ties by ascending post_id."""

    request_id: str = Field(examples=["5d41402abc4b2a76b9719d911017c592"])
    source: Literal["graphsage", "popular"] = Field(description="graphsage whenever the model ranked")


class WrongField(NamedTuple):
    loc: tuple[str | int, ...]  # from the whole question on; the names in it may be the caller's own
    msg: str
    type: str


def wrong_fields(error: ValidationError, most: int) -> list[WrongField]:
    """What is wrong, in the words of JSON, which has lists where Python has tuples; never with the input itself."""
    found = error.errors(include_url=False, include_input=False)
    return [_in_words_of_json(each["loc"], each["msg"], each["type"], each.get("ctx", {})) for each in found[:most]]


def _in_words_of_json(loc: tuple[str | int, ...], message: str, kind: str, context: Mapping[str, Any]) -> WrongField:
    if kind == "tuple_type":
        return WrongField(loc, "Input should be a list", "list_type")
    if kind == "too_long":
        return too_long(loc, context["max_length"], context["actual_length"])
    return WrongField(loc, message, kind)


def too_long(loc: tuple[str | int, ...], most: int, found: int | None) -> WrongField:
    said = "more" if found is None else found
    return WrongField(loc, f"List should have at most {most} items, not {said}", "too_long")


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
