"""A call of either client: its one deadline, its one second try, what it believes of what it receives."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from waypost.client import AsyncClient, BadSetup, Client, InvalidRequest, KeyRefused, Tags, Unavailable

from .conftest import (
    PATIENT_MS,
    Behaviour,
    MakeClient,
    StartServer,
    answers,
    answers_with,
    closes,
    is_silent,
    never_ends,
    says,
    trickles,
)


@pytest.fixture
def nobody() -> str:
    """An address that refuses every connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_an_answer_is_typed_and_the_question_arrives_as_it_was_put(
    start_server: StartServer, make_client: MakeClient
) -> None:
    server = start_server()
    ask = make_client(server.url, api_key="secret")
    fields: dict[str, Any] = {"recent_post_ids": [7], "exclude_post_ids": [3], "tags": {"none": ["nightlife"]}}
    answer = ask(42, 3, **fields, query="quiet coves", exclude_seen=False, deadline_ms=PATIENT_MS)
    assert (answer.user_id, answer.source, answer.degraded, answer.model_version) == (42, "graphsage", False, 7)
    assert (answer.post_ids, answer.items[1].score, answer.cause) == ([1000, 1001, 1002], 0.999, None)
    (asked,) = server.asked
    told = asked.pop("deadline_ms")
    assert asked == {"user_id": 42, "k": 3, **fields, "query": "quiet coves", "exclude_seen": False}
    assert PATIENT_MS // 2 < told < PATIENT_MS
    assert server.headers[0]["authorization"] == "Bearer secret"


def test_a_connection_is_used_again(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server()
    ask = make_client(server.url)
    for _ in range(20):
        ask(42, deadline_ms=PATIENT_MS)
    assert (len(server.asked), server.connections) == (20, 1)


def test_several_gateways_are_asked_in_turn(start_server: StartServer, make_client: MakeClient) -> None:
    servers = [start_server() for _ in range(3)]
    ask = make_client(*(server.url for server in servers))
    for _ in range(9):
        ask(42, deadline_ms=PATIENT_MS)
    assert [len(server.asked) for server in servers] == [3, 3, 3]


@pytest.mark.parametrize("behaviour", [is_silent, trickles], ids=["silence", "a trickle"])
def test_the_deadline_ends_a_call_whatever_it_waits_for(
    start_server: StartServer, make_client: MakeClient, behaviour: Behaviour
) -> None:
    ask = make_client(start_server(behaviour).url, fallback=[1, 2, 3])
    answer = ask(42, 2, deadline_ms=100)
    assert (answer.source, answer.cause, answer.post_ids) == ("fallback", "deadline", [1, 2])


def test_a_late_gateway_is_hedged_and_the_other_one_answers(start_server: StartServer, make_client: MakeClient) -> None:
    late, other = start_server(is_silent), start_server()
    ask = make_client(late.url, other.url)
    answered = [ask(42, deadline_ms=400).source for _ in range(2)]  # whichever it begins with
    assert answered == ["graphsage", "graphsage"]
    assert [len(late.asked), len(other.asked)] == [1, 2]
    told = [asked["deadline_ms"] for asked in other.asked]
    assert min(told) <= 200 < max(told)  # the second try is told what was left


FAILURES = {
    "a closed connection": closes,
    "503": says(503),
    "500 and a page": says(500, b"<html>"),
    "a redirect": says(307, headers="Location: http://127.0.0.1:1/\r\n"),
    "no JSON": says(200, b"<html>"),
    "half an answer": says(200, b'{"request_id": "r"'),
    "another user's answer": answers_with(user_id=43),
    "more than was asked for": answers_with(items=[{"post_id": i, "score": 0.0} for i in range(21)]),
    "a body without an end": never_ends,
}


@pytest.mark.parametrize("behaviour", FAILURES.values(), ids=FAILURES)
def test_what_is_no_answer_is_tried_once_elsewhere(
    start_server: StartServer, make_client: MakeClient, behaviour: Behaviour
) -> None:
    broken, other = start_server(behaviour), start_server()
    ask = make_client(broken.url, other.url)
    assert [ask(42, deadline_ms=PATIENT_MS).source for _ in range(4)] == ["graphsage"] * 4
    assert len(broken.asked) == 1  # it is left alone for a moment


@pytest.mark.parametrize("behaviour", FAILURES.values(), ids=FAILURES)
def test_two_tries_are_all_there_are(start_server: StartServer, make_client: MakeClient, behaviour: Behaviour) -> None:
    servers = [start_server(behaviour) for _ in range(3)]
    answer = make_client(*(server.url for server in servers), fallback=[5])(42, deadline_ms=PATIENT_MS)
    assert (answer.source, answer.post_ids) == ("fallback", [5])
    assert answer.cause != "deadline"  # nothing was waited for
    assert sum(len(server.asked) for server in servers) == 2


def test_a_redirect_is_not_followed(start_server: StartServer, make_client: MakeClient) -> None:
    """Wherever it leads, the key would go there too."""
    elsewhere = start_server()
    moved = start_server(says(307, headers=f"Location: {elsewhere.url}/recommend\r\n"))
    answer = make_client(moved.url, fallback=[5])(42, deadline_ms=PATIENT_MS)
    assert (answer.cause, len(elsewhere.asked)) == ("status 307", 0)


def test_a_refused_connection_is_tried_elsewhere(
    start_server: StartServer, make_client: MakeClient, nobody: str
) -> None:
    ask = make_client(nobody, start_server().url)
    assert [ask(42, deadline_ms=PATIENT_MS).source for _ in range(4)] == ["graphsage"] * 4


def test_second_tries_are_at_most_a_tenth_and_ten(start_server: StartServer, make_client: MakeClient) -> None:
    server = start_server(closes)
    ask = make_client(server.url, fallback=[1])
    for _ in range(200):
        assert ask(42, deadline_ms=PATIENT_MS).cause == "closed"
    assert 200 + 20 <= len(server.asked) <= 200 + 30


@pytest.mark.parametrize("status", [400, 404, 408, 429])
def test_another_4xx_is_an_answer_and_not_tried_again(
    start_server: StartServer, make_client: MakeClient, status: int
) -> None:
    server = start_server(says(status, b"no JSON"))
    answer = make_client(server.url, fallback=[1])(42, deadline_ms=PATIENT_MS)
    assert (answer.cause, answer.post_ids, len(server.asked)) == (f"status {status}", [1], 1)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_raised_with_a_fallback_too(
    start_server: StartServer, make_client: MakeClient, status: int
) -> None:
    server = start_server(says(status, b'{"detail": "an API key is required"}'))
    with pytest.raises(KeyRefused, match=f"{status}: an API key is required; give the client another api_key") as got:
        make_client(server.url, fallback=[1])(42, deadline_ms=PATIENT_MS)
    assert (got.value.status, len(server.asked)) == (status, 1)


def test_what_the_gateway_finds_wrong_is_raised_by_field(start_server: StartServer, make_client: MakeClient) -> None:
    problem = b'{"detail": [{"loc": ["body", "user_id"], "msg": "Input should be a valid string", "type": "x"}]}'
    server = start_server(says(422, problem))
    with pytest.raises(InvalidRequest, match="user_id: Input should be a valid string") as got:
        make_client(server.url, fallback=[1])(42, deadline_ms=PATIENT_MS)
    assert got.value.problems == [("user_id", "Input should be a valid string")]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("k", {"k": 0}),
        ("k", {"k": True}),
        ("user_id", {"user_id": None}),
        ("user_id", {"user_id": 4.0}),
        ("user_id", {"user_id": 2**63}),
        ("recent_post_ids", {"recent_post_ids": "hidden-coves"}),
        ("recent_post_ids", {"recent_post_ids": 7}),
        ("recent_post_ids", {"recent_post_ids": range(201)}),
        ("recent_post_ids.1", {"recent_post_ids": [1, "a"]}),
        ("exclude_post_ids", {"exclude_post_ids": range(10_001)}),
        ("tags.every", {"tags": {"every": ["beach"]}}),
        ("tags.any", {"tags": {"any": "beach"}}),
        ("query", {"query": "x" * 1_001}),
        ("deadline_ms", {"deadline_ms": 19}),
        ("k", {"k": None}),
        ("exclude_seen", {"exclude_seen": None}),
        ("deadline_ms", {"deadline_ms": None}),
        ("recent_post_ids", {"recent_post_ids": None}),
        ("recent_post_ids", {"recent_post_ids": {7: "seen"}}),
        ("tags", {"tags": ["beach"]}),
        ("tags", {"tags": object()}),
        ("tags.none", {"tags": {"none": None}}),
        ("tags.none.0", {"tags": {"none": [None]}}),
        ("query", {"query": "\ud800"}),
        ("user_id", {"user_id": object()}),
        ("user_id", {"user_id": 2**64}),
        ("k", {"k": np.int64(5)}),
        ("exclude_post_ids", {"exclude_post_ids": np.arange(3)}),
    ],
)
def test_a_wrong_question_is_not_sent(
    start_server: StartServer, make_client: MakeClient, field: str, fields: dict[str, Any]
) -> None:
    server = start_server()
    with pytest.raises(InvalidRequest, match="correct the question") as got:
        make_client(server.url, fallback=[1])(**{"user_id": 42, **fields})
    assert [name for name, _ in got.value.problems] == [field] or fields.get("user_id") == 2**63
    assert "\n" not in str(got.value)
    assert "uple" not in str(got.value)  # what a caller gave is a list to him
    assert server.asked == []


@pytest.mark.parametrize("names", [["beach", "island"], ("beach", "island"), {"beach": 1, "island": 2}.keys()])
@pytest.mark.parametrize("as_tags", [True, False])
def test_names_of_tags_may_be_any_kind_of_list(
    start_server: StartServer, make_client: MakeClient, names: Any, as_tags: bool
) -> None:
    server = start_server()
    ask = make_client(server.url)
    ask(42, tags=Tags(any=names) if as_tags else {"any": names}, deadline_ms=PATIENT_MS)
    assert server.asked[0]["tags"]["any"] == ["beach", "island"]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("tags.any", {"any": "beach"}), ("tags.all.1", {"all": ["a", 7]}), ("tags.none", {"none": None}),
     ("tags.none", {"none": ["x"] * 51}), ("tags.any.0", {"any": ["x" * 513]})],
)  # fmt: skip
def test_wrong_tags_are_refused_where_they_are_made(field: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="correct the question") as got:
        Tags(**wrong)
    assert [name for name, _ in got.value.problems] == [field]


def test_a_uuid_is_sent_as_its_text(start_server: StartServer, make_client: MakeClient) -> None:
    server, user = start_server(), UUID("6f1d3a52-8c04-4b7e-9a35-2d5c0e7b9f10")
    ask = make_client(server.url)
    assert ask(user, exclude_post_ids=[user], deadline_ms=PATIENT_MS).source == "graphsage"
    assert (server.asked[0]["user_id"], server.asked[0]["exclude_post_ids"]) == (str(user), [str(user)])


def test_nothing_to_fall_back_to_is_one_line(make_client: MakeClient, nobody: str) -> None:
    with pytest.raises(Unavailable, match=r"^no gateway answered: closed; give the client a fallback$"):
        make_client(nobody)(42, deadline_ms=PATIENT_MS)


@pytest.mark.parametrize("gateways", [[], ["gateway:8080"], ["ftp://gateway"], ["http://"], ["http://g:port"], [7]])
def test_what_is_no_address_is_refused_at_once(make_client: MakeClient, gateways: list[Any]) -> None:
    with pytest.raises(BadSetup, match="http://"):
        make_client(*gateways)


@pytest.mark.parametrize("gateways", [None, 5, 7.0, b"http://gateway:8080", {"http://": 1}, [None], [["http://g"]]])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_no_list_of_addresses_is_refused_at_once(kind: type[Client], gateways: Any) -> None:
    with pytest.raises(BadSetup, match="http://"):
        kind(gateways)


@pytest.mark.parametrize("key", ["a key", "key\n", "schlüssel"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(make_client: MakeClient, key: str) -> None:
    with pytest.raises(BadSetup) as got:
        make_client("http://127.0.0.1:1", api_key=key)
    assert key not in str(got.value)


@pytest.mark.parametrize("key", ["", 5, b"key", ["key"]])
def test_what_is_no_key_is_refused_at_once(make_client: MakeClient, key: Any) -> None:
    with pytest.raises(BadSetup, match="api_key"):
        make_client("http://127.0.0.1:1", api_key=key)


def test_what_is_no_tls_context_is_refused_at_once(make_client: MakeClient) -> None:
    with pytest.raises(BadSetup, match="create_default_context"):
        make_client("https://127.0.0.1:1", tls=True)


def test_a_client_that_was_closed_says_so(start_server: StartServer) -> None:
    async def ask_after_the_end() -> None:
        async with AsyncClient(url, fallback=[1]) as client:
            await client.recommend(42)
        await client.recommend(42)

    url = start_server().url
    with pytest.raises(BadSetup, match="closed; make another one"):
        asyncio.run(ask_after_the_end())
    with Client(url, fallback=[1]) as client:
        client.recommend(42)
    with pytest.raises(BadSetup, match="closed; make another one"):
        client.recommend(42)


def test_the_gateway_that_answers_last_time_is_not_forgotten_by_a_4xx(
    start_server: StartServer, make_client: MakeClient
) -> None:
    server = start_server(says(429))
    ask = make_client(server.url, fallback=[1])
    assert ask(42, deadline_ms=PATIENT_MS).source == "fallback"
    server.behaviour = answers
    assert ask(42, deadline_ms=PATIENT_MS).source == "graphsage"
