"""The message that asks a worker one question: what its JSON says, and the distrust with which it is read.

Pure: bytes in, dataclass out. Times are seconds since the epoch. The reply address is opaque here; only ReplyResolver
gives it a meaning, and it can never be a URL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from waypost.errors import MalformedMessage
from waypost.limits import (
    MAX_EXCLUDE,
    MAX_ID,
    MAX_K,
    MAX_KEY_CHARACTERS,
    MAX_QUERY_CHARACTERS,
    MAX_RECENT,
    MAX_TAGS,
    MIN_K,
)
from waypost.questions import AppKey, Question, TagFilter, is_app_key

SCHEMA = 1
MAX_REQUEST_ID_CHARACTERS = 64  # ours have 32
MAX_REPLY_TO_CHARACTERS = 80  # a DNS label and a port
# JSON may hold these two in the clear, the XML 1.0 that SQS is bound to may not. They can only stand inside a string,
# so an escape may take their place anywhere. (Control characters JSON escapes itself, half surrogates are no text.)
_NOT_XML = ((b"\xef\xbf\xbe", b"\\ufffe"), (b"\xef\xbf\xbf", b"\\uffff"))
_FIELDS = frozenset(
    {
        "schema", "request_id", "user_id", "k", "recent_post_ids", "exclude_post_ids", "tags", "query", "exclude_seen",
        "issued_at", "deadline", "reply_to",
    }
)  # fmt: skip
_TAG_FIELDS = frozenset({"any", "all", "none"})


@dataclass(frozen=True)
class RecommendMessage:
    question: Question
    request_id: str
    issued_at: float  # seconds since the epoch
    deadline: float  # seconds since the epoch; nobody waits for the answer after it
    reply_to: str  # a gateway pod of ours, see ReplyResolver


def encode(message: RecommendMessage) -> bytes:
    """The exact bytes that are signed and sent. Raises MalformedMessage for text that is not Unicode."""
    question = message.question
    content = {
        "schema": SCHEMA,
        "request_id": message.request_id,
        "user_id": question.user_id,
        "k": question.k,
        "recent_post_ids": question.recent_post_ids,
        "exclude_post_ids": question.exclude_post_ids,
        "tags": {"any": question.tags.any, "all": question.tags.all, "none": question.tags.none},
        "query": question.query,
        "exclude_seen": question.exclude_seen,
        "issued_at": message.issued_at,
        "deadline": message.deadline,
        "reply_to": message.reply_to,
    }
    try:
        body = orjson.dumps(content)
    except TypeError as error:  # half a surrogate pair, or an id beyond 64 bits
        raise MalformedMessage(f"the question cannot be written as JSON: {error}") from None
    return xml_safe(body)


def xml_safe(body: bytes) -> bytes:
    """The same JSON in characters that SQS takes."""
    for raw, escaped in _NOT_XML:
        body = body.replace(raw, escaped)
    return body


def decode(body: bytes) -> RecommendMessage:
    """Raises MalformedMessage for anything that `encode` of this schema could not have written."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MalformedMessage("the message is not JSON") from None
    fields = _object(content, "the message", _FIELDS)
    _integer(fields, "schema", SCHEMA, SCHEMA)
    return RecommendMessage(
        question=_question(fields),
        request_id=_text(fields, "request_id", MAX_REQUEST_ID_CHARACTERS),
        issued_at=_seconds(fields, "issued_at"),
        deadline=_seconds(fields, "deadline"),
        reply_to=_text(fields, "reply_to", MAX_REPLY_TO_CHARACTERS),
    )


def _question(fields: Mapping[str, Any]) -> Question:
    tags = _object(fields["tags"], "tags", _TAG_FIELDS)
    if type(fields["exclude_seen"]) is not bool:
        raise _unfit("exclude_seen")
    return Question(
        user_id=_id(fields, "user_id"),
        k=_integer(fields, "k", MIN_K, MAX_K),
        recent_post_ids=_ids(fields, "recent_post_ids", MAX_RECENT),
        exclude_post_ids=_ids(fields, "exclude_post_ids", MAX_EXCLUDE),
        tags=TagFilter(*(_names(tags, name) for name in ("any", "all", "none"))),
        query=None if fields["query"] is None else _text(fields, "query", MAX_QUERY_CHARACTERS),
        exclude_seen=fields["exclude_seen"],
    )


def _object(value: object, what: str, names: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != names:
        raise MalformedMessage(f"{what} has other fields than ours")
    return value


def _integer(fields: Mapping[str, Any], name: str, lowest: int, highest: int) -> int:
    value = fields[name]
    if type(value) is not int or not lowest <= value <= highest:
        raise _unfit(name)
    return value


def _seconds(fields: Mapping[str, Any], name: str) -> float:
    value = fields[name]
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _unfit(name)
    return float(value)


def _text(fields: Mapping[str, Any], name: str, longest: int) -> str:
    value = fields[name]
    if type(value) is not str or len(value) > longest:
        raise _unfit(name)
    return value


def _id(fields: Mapping[str, Any], name: str) -> AppKey:
    value = fields[name]
    if not is_app_key(value):
        raise _unfit(name)
    return value


def _ids(fields: Mapping[str, Any], name: str, most: int) -> tuple[AppKey, ...]:
    """All integers or all strings."""
    value = fields[name]
    if type(value) is not list or len(value) > most or not (_are_integers(value) or _are_texts(value)):
        raise _unfit(name)
    return tuple(value)


def _are_integers(items: list[Any]) -> bool:
    return all(type(item) is int and item <= MAX_ID for item in items)  # JSON integers below MIN_ID arrive as floats


def _are_texts(items: list[Any]) -> bool:
    return all(type(item) is str and len(item) <= MAX_KEY_CHARACTERS for item in items)


def _names(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields[name]
    if type(value) is not list or len(value) > MAX_TAGS or not all(type(item) is str for item in value):
        raise _unfit(name)
    return tuple(value)


def _unfit(name: str) -> MalformedMessage:
    return MalformedMessage(f"the message's {name} is of another type or out of range")
