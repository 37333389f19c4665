"""What `/recommend` accepts and refuses, field by field."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from waypost.gateway.models import MAX_PROBLEMS, InvalidRequest, parse_body, parse_parameters
from waypost.questions import Question, TagFilter

SMALLEST, LARGEST = -(2**63), 2**63 - 1


def a_body(**different: Any) -> bytes:
    return orjson.dumps({"user_id": 42, **different})


def wrong_fields(body: bytes) -> list[list[str | int]]:
    with pytest.raises(InvalidRequest) as invalid:
        parse_body(body)
    return [problem["loc"] for problem in orjson.loads(invalid.value.body)["detail"]]


def test_user_id_alone_is_enough_and_the_rest_has_the_contracts_defaults() -> None:
    request = parse_body(b'{"user_id": 42}')
    assert request.question() == Question(42, 20, (), (), TagFilter(), None, True)
    assert request.deadline_ms == 250


def test_every_field_reaches_the_question() -> None:
    body = a_body(
        k=3, recent_post_ids=[1, -2], exclude_post_ids=[3], tags={"any": ["a"], "all": ["b"], "none": ["c"]},
        query="coves", exclude_seen=False, deadline_ms=20,
    )  # fmt: skip
    expected = Question(42, 3, (1, -2), (3,), TagFilter(("a",), ("b",), ("c",)), "coves", False)
    assert parse_body(body).question() == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": SMALLEST},
        {"user_id": LARGEST},
        {"user_id": 0},
        {"k": 1},
        {"k": 100},
        {"recent_post_ids": [SMALLEST, LARGEST] * 100},
        {"exclude_post_ids": list(range(10_000))},
        {"tags": {}},
        {"tags": {"any": ["x"] * 50, "all": ["x"] * 50, "none": ["x"] * 50}},
        {"tags": {"any": ["", "\x00", "\U0001f3d6"]}},
        {"query": None},
        {"query": ""},
        {"query": "\U0001f3d6" * 1_000},
        {"deadline_ms": 20},
        {"deadline_ms": 10_000},
    ],
    ids=range(15),
)
def test_the_limits_themselves_are_allowed(fields: dict[str, Any]) -> None:
    parse_body(a_body(**fields))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"user_id": "42"}, ["body", "user_id"]),
        ({"user_id": 42.0}, ["body", "user_id"]),
        ({"user_id": None}, ["body", "user_id"]),
        ({"user_id": True}, ["body", "user_id"]),
        ({"user_id": [42]}, ["body", "user_id"]),
        ({"k": 0}, ["body", "k"]),
        ({"k": 101}, ["body", "k"]),
        ({"k": -1}, ["body", "k"]),
        ({"k": "ten"}, ["body", "k"]),
        ({"k": "10"}, ["body", "k"]),
        ({"k": None}, ["body", "k"]),
        ({"k": 42.0}, ["body", "k"]),
        ({"k": True}, ["body", "k"]),
        ({"recent_post_ids": None}, ["body", "recent_post_ids"]),
        ({"recent_post_ids": 7}, ["body", "recent_post_ids"]),
        ({"recent_post_ids": [0] * 201}, ["body", "recent_post_ids"]),
        ({"recent_post_ids": [1, "2"]}, ["body", "recent_post_ids", 1]),
        ({"recent_post_ids": [False]}, ["body", "recent_post_ids", 0]),
        ({"exclude_post_ids": [0] * 10_001}, ["body", "exclude_post_ids"]),
        ({"exclude_post_ids": [1.0]}, ["body", "exclude_post_ids", 0]),
        ({"tags": None}, ["body", "tags"]),
        ({"tags": ["beach"]}, ["body", "tags"]),
        ({"tags": {"any": ["x"] * 51}}, ["body", "tags", "any"]),
        ({"tags": {"all": ["x"] * 51}}, ["body", "tags", "all"]),
        ({"tags": {"none": ["x"] * 51}}, ["body", "tags", "none"]),
        ({"tags": {"any": "beach"}}, ["body", "tags", "any"]),
        ({"tags": {"any": [7]}}, ["body", "tags", "any", 0]),
        ({"tags": {"some": []}}, ["body", "tags", "some"]),
        ({"query": "x" * 1_001}, ["body", "query"]),
        ({"query": 7}, ["body", "query"]),
        ({"exclude_seen": 1}, ["body", "exclude_seen"]),
        ({"exclude_seen": "true"}, ["body", "exclude_seen"]),
        ({"exclude_seen": None}, ["body", "exclude_seen"]),
        ({"deadline_ms": 19}, ["body", "deadline_ms"]),
        ({"deadline_ms": 10_001}, ["body", "deadline_ms"]),
        ({"deadline_ms": 250.0}, ["body", "deadline_ms"]),
        ({"deadline": 250}, ["body", "deadline"]),
    ],
    ids=range(37),
)
def test_a_wrong_field_is_named(fields: dict[str, Any], place: list[str | int]) -> None:
    assert wrong_fields(a_body(**fields)) == [place]


@pytest.mark.parametrize("user_id", [SMALLEST - 1, LARGEST + 1, 10**30])
def test_an_id_beyond_64_bits_is_named(user_id: int) -> None:
    assert wrong_fields(b'{"user_id": %d}' % user_id) == [["body", "user_id"]]
    assert wrong_fields(b'{"user_id": 1, "exclude_post_ids": [1, %d]}' % user_id) == [["body", "exclude_post_ids", 1]]


def test_a_missing_user_id_is_named() -> None:
    assert wrong_fields(b"{}") == [["body", "user_id"]]


def test_every_wrong_field_is_named_but_not_ten_thousand_of_them() -> None:
    assert wrong_fields(a_body(k=0, deadline_ms=0)) == [["body", "k"], ["body", "deadline_ms"]]
    assert len(wrong_fields(a_body(exclude_post_ids=["x"] * 10_000))) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"42", b"not JSON", b'{"user_id": 42', b"\xff\xfe", b'{"user_id": NaN}', b"[" * 100_000,
     b'{"user_id": 42, "query": "\\ud800"}', b'{"user_id": 42} {}'],
    ids=range(11),
)  # fmt: skip
def test_what_is_not_an_object_of_json_is_refused(body: bytes) -> None:
    assert wrong_fields(body)[0][0] == "body"


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(InvalidRequest) as invalid:
        parse_body(a_body(query="a secret" * 1_000))
    assert b"secret" not in invalid.value.body


class TestParameters:
    def test_the_simple_fields_are_read(self) -> None:
        asked = parse_parameters(
            [("user_id", "-42"), ("k", "3"), ("query", "7"), ("exclude_seen", "false"), ("deadline_ms", "20")]
        )
        assert asked.question() == Question(-42, 3, query="7", exclude_seen=False)
        assert asked.deadline_ms == 20

    @pytest.mark.parametrize(
        ("pairs", "name"),
        [
            ([], "user_id"),
            ([("user_id", "")], "user_id"),
            ([("user_id", "42.0")], "user_id"),
            ([("user_id", "x")], "user_id"),
            ([("user_id", "٤٢")], "user_id"),
            ([("user_id", " 42")], "user_id"),
            ([("user_id", str(LARGEST + 1))], "user_id"),
            ([("user_id", "9" * 5_000)], "user_id"),
            ([("user_id", "1"), ("k", "101")], "k"),
            ([("user_id", "1"), ("exclude_seen", "maybe")], "exclude_seen"),
            ([("user_id", "1"), ("deadline_ms", "19")], "deadline_ms"),
            ([("user_id", "1"), ("exclude_post_ids", "1")], "exclude_post_ids"),
        ],
        ids=range(12),
    )
    def test_a_wrong_parameter_is_named(self, pairs: list[tuple[str, str]], name: str) -> None:
        with pytest.raises(InvalidRequest) as invalid:
            parse_parameters(pairs)
        assert [problem["loc"] for problem in orjson.loads(invalid.value.body)["detail"]] == [["query", name]]


def test_a_field_of_endless_name_is_named_briefly() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_body(b'{"user_id": 1, "%s": 2}' % (b"x" * 900_000))
    assert len(refused.value.body) < 500


def test_a_parameter_given_twice_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_parameters([("user_id", "1"), ("k", "x"), ("k", "3")])
    assert orjson.loads(refused.value.body)["detail"][0]["loc"] == ["query", "k"]
