"""The message on the queue: what is written is what is read, and nothing else is."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import MalformedMessage
from waypost.limits import MAX_EXCLUDE, MAX_ID, MAX_KEY_CHARACTERS, MAX_RECENT, MAX_TAGS, MIN_ID
from waypost.questions import Question, TagFilter
from waypost.queueing.messages import RecommendMessage, decode, encode

NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
IDS = st.integers(MIN_ID, MAX_ID)
TEXT_IDS = st.text(max_size=40) | st.uuids().map(str)
POST_IDS = st.lists(IDS, max_size=9).map(tuple) | st.lists(TEXT_IDS, max_size=9).map(tuple)
NAMES = st.lists(st.text(max_size=20), max_size=5).map(tuple)


def a_message(**different: Any) -> RecommendMessage:
    question = Question(**{"user_id": 42, **different})
    return RecommendMessage(question, "5d41402a", 1_700_000_000.0, 1_700_000_000.25, "gateway:8090")


def altered(**different: Any) -> bytes:
    return orjson.dumps({**orjson.loads(encode(a_message())), **different})


@given(
    st.builds(
        Question,
        user_id=IDS | TEXT_IDS,
        k=st.integers(1, 100),
        recent_post_ids=POST_IDS,
        exclude_post_ids=POST_IDS,
        tags=st.builds(TagFilter, NAMES, NAMES, NAMES),
        query=st.none() | st.text(max_size=40),
        exclude_seen=st.booleans(),
    )
)
def test_every_question_survives_the_queue_and_is_written_in_xml_characters(question: Question) -> None:
    message = RecommendMessage(question, "5d41402a", 1_700_000_000.5, 1_700_000_000.75, "gateway:8090")
    body = encode(message)
    assert decode(body) == message
    assert NOT_XML.search(body.decode()) is None


def test_noncharacters_and_control_characters_are_escaped_next_to_backslashes_too() -> None:
    message = a_message(query="\\\ufffe\\\\\uffff\x00\x1f\n")
    body = encode(message)
    assert NOT_XML.search(body.decode()) is None
    assert decode(body) == message


def test_the_body_is_the_exact_json_of_schema_1() -> None:
    message = a_message(k=3, tags=TagFilter(any=("Beach",)), query="coves", recent_post_ids=(-1, MAX_ID))
    assert orjson.loads(encode(message)) == {
        "schema": 1,
        "request_id": "5d41402a",
        "user_id": 42,
        "k": 3,
        "recent_post_ids": [-1, MAX_ID],
        "exclude_post_ids": [],
        "tags": {"any": ["Beach"], "all": [], "none": []},
        "query": "coves",
        "exclude_seen": True,
        "issued_at": 1_700_000_000.0,
        "deadline": 1_700_000_000.25,
        "reply_to": "gateway:8090",
    }


def test_text_that_is_not_unicode_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MalformedMessage):
        encode(a_message(query="\ud800"))
    with pytest.raises(MalformedMessage):
        encode(a_message(user_id="\ud800"))


@pytest.mark.parametrize("key", ["", "\x00\n\t", "\U0001f3d6" * MAX_KEY_CHARACTERS, "\ufffe\\\uffff", '{"a": 1}', "42"])
def test_a_text_key_may_hold_anything_up_to_its_limit(key: str) -> None:
    message = a_message(user_id=key, recent_post_ids=(key,), exclude_post_ids=(key, key))
    body = encode(message)
    assert decode(body) == message
    assert NOT_XML.search(body.decode()) is None
    assert orjson.loads(body)["user_id"] == key


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        altered(schema=2),
        altered(schema=True),
        altered(more=1),
        altered(user_id="x" * (MAX_KEY_CHARACTERS + 1)),
        altered(user_id=None),
        altered(user_id=["x"]),
        altered(recent_post_ids=["x", 1]),
        altered(recent_post_ids=["x" * (MAX_KEY_CHARACTERS + 1)]),
        altered(exclude_post_ids=["x", None]),
        altered(exclude_post_ids="x"),
        encode(a_message()).replace(b'"user_id":42', b'"user_id":"\\udc00"'),
        altered(user_id=42.0),
        altered(user_id=True),
        altered(user_id=MAX_ID + 1),
        altered(k=0),
        altered(k=101),
        altered(k=None),
        altered(recent_post_ids=None),
        altered(recent_post_ids=[1, "2"]),
        altered(recent_post_ids=list(range(MAX_RECENT + 1))),
        altered(exclude_post_ids=[MAX_ID + 1]),
        altered(exclude_post_ids=[True]),
        altered(exclude_post_ids=list(range(MAX_EXCLUDE + 1))),
        altered(tags={"any": [], "all": []}),
        altered(tags={"any": ["x"] * (MAX_TAGS + 1), "all": [], "none": []}),
        altered(tags={"any": [1], "all": [], "none": []}),
        altered(query="x" * 1_001),
        altered(query=7),
        altered(exclude_seen=1),
        altered(issued_at="now"),
        altered(deadline=None),
        altered(deadline=True),
        altered(reply_to=["gateway"]),
        altered(reply_to="g" * 81),
        altered(request_id=7),
        encode(a_message()).replace(b'"user_id":42', b'"user_id":-9223372036854775809'),
        encode(a_message()).replace(b'"query":null', b'"query":"\\ud800"'),
    ],
    ids=range(44),
)
def test_what_is_not_ours_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(body)


def test_the_largest_question_is_read_and_fits_one_sqs_message() -> None:
    largest = a_message(
        user_id=MIN_ID,
        k=100,
        recent_post_ids=(MIN_ID,) * MAX_RECENT,
        exclude_post_ids=(MIN_ID,) * MAX_EXCLUDE,
        tags=TagFilter(*(("x" * 100,) * MAX_TAGS for _ in range(3))),
        query="\uffff" * 1_000,
    )
    body = encode(largest)
    assert decode(body) == largest
    assert len(body) < 1 << 20
