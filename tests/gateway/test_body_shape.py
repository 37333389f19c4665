"""A body of more values than any request holds is refused before each of them costs anything; a whole one never is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.gateway.body_shape import SMALL_BYTES, require_plausible
from waypost.gateway.models import TOO_MANY, InvalidRequest, parse_body
from waypost.limits import MAX_BODY_BYTES, MAX_EXCLUDE, MAX_RECENT, MAX_TAGS

ENDLESS = {
    "unknown fields": b'{"user_id":1' + b"".join(b',"%x":1' % i for i in range(80_000)) + b"}",
    "unknown tags": b'{"user_id":1,"tags":{' + b",".join(b'"%x":1' % i for i in range(80_000)) + b"}}",
    "wrong ids": orjson.dumps({"user_id": 1, "exclude_post_ids": ["x"] * 250_000}),
    "ids with a fraction": orjson.dumps({"user_id": 1, "recent_post_ids": [1.5] * 250_000}),
    "arrays of arrays": b'{"user_id":1,"x":[' + b",".join([b"[" * 100 + b"]" * 100] * 5_000) + b"]}",
    "objects in objects": b'{"a":' * 200_000,
    "arrays without end": b"[" * 1_000_000,
    "texts alone": b'":' * 40 + b'"' * 1_000_000,
}


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS.keys())
def test_endless_bodies_never_reach_pydantic_which_would_take_a_second_for_some(body: bytes) -> None:
    assert len(body) <= MAX_BODY_BYTES
    with pytest.raises(InvalidRequest) as refused:
        parse_body(body)
    (problem,) = orjson.loads(refused.value.body)["detail"]
    assert (problem["loc"][0], problem["msg"]) == ("body", TOO_MANY)


def test_a_list_that_is_a_little_too_long_is_still_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_body(orjson.dumps({"user_id": 1, "k": 5, "exclude_post_ids": [1] * (MAX_EXCLUDE + 100)}))
    assert orjson.loads(refused.value.body)["detail"][0]["loc"] == ["body", "exclude_post_ids"]


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
