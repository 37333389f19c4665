"""A body of more values than any request holds is refused before each of them costs anything; a whole one never is."""

from __future__ import annotations

from time import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from waypost.gateway.body_shape import MAX_VALUES, SMALL_BYTES, TooManyValues, require_plausible
from waypost.gateway.models import ALWAYS_SENDABLE_BYTES, MAX_PROBLEMS, InvalidRequest, parse_body
from waypost.http_models import models_for
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.limits import (
    MAX_BODY_BYTES,
    MAX_EXCLUDE,
    MAX_QUERY_CHARACTERS,
    MAX_RECENT,
    MAX_TAG_CHARACTERS,
    MAX_TAGS,
)
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.protocols import MAX_BATCH_BYTES

EXCLUDED, RECENT = ["body", "exclude_post_ids"], ["body", "recent_post_ids"]
NAMED: dict[str, tuple[bytes, list[str]]] = {  # what it is, and a field that its refusal names
    "unknown fields": (b'{"user_id":1' + b"".join(b',"%x":1' % i for i in range(80_000)) + b"}", ["body", "0"]),
    "unknown fields before ours": (b"{" + b"".join(b'"%x":1,' % i for i in range(80_000)) + b'"k":0}', ["body", "k"]),
    "unknown tags": (
        b'{"user_id":1,"tags":{' + b",".join(b'"%x":1' % i for i in range(80_000)) + b"}}", ["body", "tags", "0"],
    ),
    "wrong ids": (orjson.dumps({"user_id": 1, "exclude_post_ids": ["x"] * 250_000}), EXCLUDED),
    "too many ids": (orjson.dumps({"user_id": 1, "exclude_post_ids": [7] * 20_001}), EXCLUDED),
    "too many ids before others": (
        orjson.dumps({"user_id": 1, "recent_post_ids": [7] * 9_000, "exclude_post_ids": [7] * 9_000}), RECENT,
    ),
    "ids with a fraction": (orjson.dumps({"user_id": 1, "recent_post_ids": [1.5] * 250_000}), RECENT),
    "too many tags": (
        orjson.dumps({"user_id": 1, "tags": {"none": ["x"] * 20_000}}), ["body", "tags", "none"],
    ),
    "each id in a list": (orjson.dumps({"user_id": 1, "exclude_post_ids": [[7]] * 10_000}), EXCLUDED),
    "arrays of arrays": (b'{"user_id":1,"x":[' + b",".join([b"[" * 100 + b"]" * 100] * 5_000) + b"]}", ["body"]),
    "objects in objects": (b'{"a":' * 200_000, ["body"]),
    "arrays without end": (b"[" * 1_000_000, ["body"]),
    "deep arrays": (b'{"user_id":1,"recent_post_ids":' + b"[" * 9_000 + b"]" * 9_000 + b"}", ["body"]),
    "texts alone": (b'":' * 40 + b'"' * 1_000_000, ["body"]),
    "one field again and again": (b'{"user_id":1' + b',"k":1' * 80_000 + b"}", ["body"]),
}  # fmt: skip


ENDLESS = {what: body for what, (body, _) in NAMED.items()}


@pytest.mark.parametrize(("body", "field"), NAMED.values(), ids=NAMED.keys())
def test_endless_bodies_never_reach_pydantic_which_would_take_a_second_for_some(body: bytes, field: list[str]) -> None:
    assert len(body) <= MAX_BODY_BYTES
    with pytest.raises(TooManyValues):
        require_plausible(body)
    places, messages = problems_of(body)
    assert field in [place[: len(field)] for place in places]
    assert len(places) <= MAX_PROBLEMS
    assert not [message for message in messages if "Tuple" in message]


def problems_of(body: bytes) -> tuple[list[list[str]], list[str]]:
    """Where, and what."""
    with pytest.raises(InvalidRequest) as refused:
        parse_body(body)
    found = orjson.loads(refused.value.body)["detail"]
    return [problem["loc"] for problem in found], [problem["msg"] for problem in found]


@pytest.mark.parametrize("many", [MAX_EXCLUDE + 100, 2 * MAX_EXCLUDE + 1])
def test_a_list_that_is_too_long_is_named_with_its_limit_as_json_calls_it(many: int) -> None:
    places, messages = problems_of(orjson.dumps({"user_id": 1, "k": 5, "exclude_post_ids": [1] * many}))
    assert places == [EXCLUDED]
    assert messages == [f"List should have at most {MAX_EXCLUDE} items, not {many}"]


values = st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=3)
lists = st.lists(values, max_size=3).map(lambda items: items * 70)
NAMES = ["user_id", "k", "recent_post_ids", "exclude_post_ids", "query", "deadline_ms", "other"]


@given(
    fields=st.dictionaries(st.sampled_from(NAMES), values | lists),
    tags=st.dictionaries(st.sampled_from(["any", "all", "none", "some"]), values | lists),
    endless=st.sampled_from(["recent_post_ids", "exclude_post_ids", "other"]),
)
def test_a_body_too_large_for_pydantic_is_told_the_fields_that_pydantic_names(
    fields: dict[str, Any], tags: dict[str, Any], endless: str
) -> None:
    asked = {**fields, "tags": tags, endless: [1] * (MAX_VALUES + 2)}
    body = orjson.dumps(asked)
    with pytest.raises(TooManyValues):
        require_plausible(body)
    with pytest.raises(ValidationError) as wrong:
        models_for(INTEGER_KEYS).request.model_validate_json(body)
    named = {tuple(problem["loc"][:2]) for problem in wrong.value.errors() if len(wrong.value.errors()) <= MAX_PROBLEMS}
    told = {tuple(place[1:3]) for place in problems_of(body)[0]}
    assert named <= told or len(problems_of(body)[0]) == MAX_PROBLEMS
    assert {place[0] for place in told} <= {problem["loc"][0] for problem in wrong.value.errors()}


@pytest.mark.parametrize("keys", [INTEGER_KEYS, KeyTypes("uuid", "uuid")])
def test_the_longest_question_of_all_still_fits_a_message_of_the_queue(keys: KeyTypes) -> None:
    """Of characters that SQS wants escaped, which makes them twice as long."""
    a_post: Any = "0b9e6c1a-47d2-4f38-8e5b-c3a1f0d27e64" if keys.post == "uuid" else -(2**63)
    name = "\ufffe" * MAX_TAG_CHARACTERS
    asked = {
        "user_id": a_post, "k": 100, "recent_post_ids": [a_post] * MAX_RECENT, "query": "\uffff" * MAX_QUERY_CHARACTERS,
        "exclude_post_ids": [a_post] * MAX_EXCLUDE, "tags": dict.fromkeys(("any", "all", "none"), [name] * MAX_TAGS),
    }  # fmt: skip
    question = parse_body(orjson.dumps(asked), keys).question()
    assert len(encode(RecommendMessage(question, "r" * 32, time(), time(), "g" * 80))) < MAX_BATCH_BYTES - 300


def test_a_tag_that_is_too_long_is_named() -> None:
    places, _ = problems_of(orjson.dumps({"user_id": 1, "tags": {"all": ["x" * MAX_TAG_CHARACTERS, "x" * 600]}}))
    assert places == [["body", "tags", "all", 1]]


@pytest.mark.parametrize(("character", "fits"), [("x", True), ("\ufffe", False)])
def test_ids_that_no_message_holds_are_refused_and_not_answered_degraded_for_ever(character: str, fits: bool) -> None:
    body = orjson.dumps({"user_id": "ana", "exclude_post_ids": [character * (1_000_000 // 3_000)] * 1_000})
    assert ALWAYS_SENDABLE_BYTES < 2 * len(body) < 2 * MAX_BODY_BYTES
    if fits:
        parse_body(body, KeyTypes("text", "text"))
        return
    with pytest.raises(InvalidRequest) as refused:
        parse_body(body, KeyTypes("text", "text"))
    assert orjson.loads(refused.value.body)["detail"][0]["loc"] == EXCLUDED


def test_the_largest_request_of_all_is_parsed() -> None:
    tags = {name: [f'city: {i} [a, "b"] {{c}}, d' for i in range(MAX_TAGS)] for name in ("any", "all", "none")}
    asked = {
        "user_id": 1, "k": 100, "recent_post_ids": [1] * MAX_RECENT, "exclude_post_ids": [2] * MAX_EXCLUDE,
        "tags": tags, "query": ":[{," * 250, "exclude_seen": True, "deadline_ms": 250,
    }  # fmt: skip
    assert parse_body(orjson.dumps(asked)).tags.any == tuple(tags["any"])


texts = st.text(alphabet=':[]{},"\\ \né\U0001f3d6a', max_size=2_000)


@given(any_=st.lists(texts, max_size=MAX_TAGS), query=texts, spaces=st.booleans())
def test_no_text_makes_a_whole_request_implausible(any_: list[str], query: str, spaces: bool) -> None:
    asked: dict[str, Any] = {"user_id": 1, "tags": {"any": any_}, "query": query, "exclude_post_ids": [7] * 3_000}
    body = orjson.dumps(asked, option=orjson.OPT_INDENT_2 if spaces else None)
    assert len(body) > SMALL_BYTES
    require_plausible(body)
