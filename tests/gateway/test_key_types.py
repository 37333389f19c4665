"""Apps whose ids are texts or UUIDs: what is asked and answered, refused and described, by the release's key types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from tokenizers import Tokenizer

from tests.factories import a_release, a_tokenizer, keyed_by_strings, slug_at, some_tensors, uuid_at
from waypost.clock import SystemClock
from waypost.gateway.models import InvalidRequest, parse_body, parse_parameters
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.limits import MAX_EXCLUDE, MAX_KEY_CHARACTERS
from waypost.objects.memory import MemoryObjectStore
from waypost.questions import Question
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.messages import decode
from waypost.release import lookups
from waypost.release.answering import Answerer
from waypost.release.moves import point_to
from waypost.release.onnx_runner import load_onnx
from waypost.release.store import LOOKUPS, MODEL, publish

from .conftest import Client, Proven, StartGateway, StartWorker, eventually, publish_release

PATIENT_MS = 10_000
STRINGS = keyed_by_strings(some_tensors())
FILES, FACTS = a_release(version=7, tensors=STRINGS)
UUID = "6f1d3a52-8c04-4b7e-9a35-2d5c0e7b9f10"
UUID_USERS = KeyTypes("uuid", "text")


@pytest.fixture
def store() -> MemoryObjectStore:
    """With a whole release, version 7, of UUID users and text posts."""
    found = MemoryObjectStore()
    publish(found, "release-7", FILES, FACTS)
    point_to(found, None, "release-7", 7, "test", SystemClock())
    return found


def an_answerer() -> Answerer:
    """The release of the store, as a worker would answer with it."""
    model = load_onnx(FILES[MODEL], threads=1)
    return Answerer(7, lookups.from_bytes(FILES[LOOKUPS]), Tokenizer.from_str(a_tokenizer()), model)


class TestFromBodyToAnswer:
    """UUID users and text posts, through gateway, queue, worker and model."""

    def test_a_known_user_is_ranked_by_the_model(self, start_gateway: StartGateway, start_worker: StartWorker) -> None:
        gateway, user = start_gateway(), uuid_at(5)
        start_worker(Proven(an_answerer()))
        answer = gateway.post({"user_id": user, "k": 5, "deadline_ms": PATIENT_MS})
        assert (answer.status, answer.json["source"], answer.json["user_id"]) == (200, "graphsage", user)
        seen = STRINGS.interactions.post[STRINGS.interactions.user == 5].tolist()
        assert set(answer.posts) <= {slug_at(row) for row in range(STRINGS.num_posts) if row not in seen}
        assert len(set(answer.posts)) == 5

    def test_a_uuid_in_capitals_is_the_same_user_and_is_answered_in_small_letters(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        start_worker(Proven(an_answerer()))
        small = gateway.post({"user_id": uuid_at(11), "deadline_ms": PATIENT_MS}).json
        capital = gateway.post({"user_id": uuid_at(11).upper(), "deadline_ms": PATIENT_MS}).json
        assert small.pop("request_id") != capital.pop("request_id")
        assert capital == small
        assert (capital["user_id"], capital["source"]) == (uuid_at(11), "graphsage")

    def test_recent_posts_let_the_model_rank_for_a_stranger_and_excluded_ones_never_come(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        start_worker(Proven(an_answerer()))
        asked = {"user_id": UUID, "k": 100, "recent_post_ids": [slug_at(3), "nowhere"], "deadline_ms": PATIENT_MS}
        answer = gateway.post({**asked, "exclude_post_ids": [slug_at(4), "nowhere"]})
        assert answer.json["source"] == "graphsage"
        assert set(answer.posts) == {slug_at(row) for row in range(STRINGS.num_posts) if row not in (3, 4)}

    def test_a_user_who_is_not_known_gets_what_is_popular(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        start_worker(Proven(an_answerer()))
        answer = gateway.post({"user_id": UUID, "k": 3, "deadline_ms": PATIENT_MS}).json
        assert (answer["source"], answer["degraded"], answer["model_version"]) == ("popular", False, 7)
        assert [item["post_id"] for item in answer["items"]] == orjson.loads(FILES["popular.json"])["posts"][:3]

    def test_people_may_ask_by_get(self, start_gateway: StartGateway, start_worker: StartWorker) -> None:
        gateway = start_gateway()
        start_worker(Proven(an_answerer()))
        answer = gateway.get(f"/recommend?user_id={uuid_at(5).upper()}&k=2&deadline_ms={PATIENT_MS}")
        assert (answer.status, answer.json["user_id"], len(answer.posts)) == (200, uuid_at(5), 2)
        assert gateway.get("/recommend?user_id=42").status == 422

    def test_without_the_model_the_popular_answer_has_the_apps_keys(self, start_gateway: StartGateway) -> None:
        popular = orjson.loads(FILES["popular.json"])["posts"]
        barred = {"exclude_post_ids": popular[:2], "recent_post_ids": popular[2:3]}
        answer = start_gateway().post({"user_id": uuid_at(5).upper(), "k": 4, "deadline_ms": 20, **barred})
        assert (answer.status, answer.json["degraded"], answer.json["user_id"]) == (200, True, uuid_at(5))
        assert answer.posts == popular[3:7]

    def test_the_message_carries_the_keys_as_strings(self, start_gateway: StartGateway, queue: MemoryQueue) -> None:
        asked = {
            "user_id": UUID.upper(),
            "recent_post_ids": ["", "\x00\ufffe"],
            "exclude_post_ids": ["\U0001f3d6" * 512],
        }
        assert start_gateway().post({**asked, "deadline_ms": 20}).status == 200
        question = decode(queue.receive(1, 0)[0].body).question
        assert (question.user_id, question.recent_post_ids) == (UUID, ("", "\x00\ufffe"))
        assert question.exclude_post_ids == ("\U0001f3d6" * 512,)


class TestTheKeyTypesAreThoseOfTheRelease:
    def test_before_any_release_nobody_knows_what_ids_are(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway(store=MemoryObjectStore(), wait_until_ready=False)
        assert gateway.post({"user_id": UUID}).status == 503
        assert gateway.post({"user_id": UUID, "recent_post_ids": [1]}).status == 503
        assert gateway.post({"user_id": 4.5}).status == gateway.post({"user_id": UUID, "k": 0}).status == 422
        eventually(lambda: gateway.post({"user_id": 42}).status == 503)

    def test_a_release_with_other_keys_changes_what_is_asked_answered_and_described(
        self, start_gateway: StartGateway, store: MemoryObjectStore
    ) -> None:
        gateway = start_gateway()
        assert gateway.post({"user_id": 42, "deadline_ms": 20}).status == 422
        assert user_schema(gateway)["type"] == "string"
        publish_release(store, 8)
        eventually(lambda: gateway.metric('waypost_gateway_release_info{model_version="8"}') == 1)
        assert gateway.post({"user_id": UUID, "deadline_ms": 20}).status == 422
        assert gateway.post({"user_id": 42, "k": 2, "deadline_ms": 20}).posts == [1, 2]
        assert user_schema(gateway)["type"] == "integer"

    def test_a_user_id_of_the_wrong_type_is_named(self, start_gateway: StartGateway) -> None:
        refused = start_gateway().post({"user_id": 42, "deadline_ms": 20})
        assert (refused.status, refused.json["detail"][0]["loc"]) == (422, ["body", "user_id"])


def user_schema(gateway: Client) -> Any:
    return gateway.get("/openapi.json").json["components"]["schemas"]["RecommendRequest"]["properties"]["user_id"]


def a_body(**fields: Any) -> bytes:
    return orjson.dumps({"user_id": UUID, **fields})


def wrong_fields(refusing: Callable[[], object]) -> list[list[str | int]]:
    with pytest.raises(InvalidRequest) as invalid:
        refusing()
    return [problem["loc"] for problem in orjson.loads(invalid.value.body)["detail"]]


class TestFields:
    @pytest.mark.parametrize("user", ["", "42", "ana", "\x00", "\U0001f3d6" * MAX_KEY_CHARACTERS, "Ana", UUID.upper()])
    def test_a_text_key_is_taken_as_it_is(self, user: str) -> None:
        question = parse_body(
            a_body(user_id=user, recent_post_ids=[user], exclude_post_ids=[user, "x"]), KeyTypes("text", "text")
        ).question()
        assert question == Question(user, recent_post_ids=(user,), exclude_post_ids=(user, "x"))
        assert parse_parameters([("user_id", user)], KeyTypes("text", "integer")).question() == Question(user)

    def test_uuids_are_taken_in_either_case_and_become_small_letters(self) -> None:
        question = parse_body(
            a_body(user_id=UUID.upper(), recent_post_ids=[UUID.upper()], exclude_post_ids=[UUID] * MAX_EXCLUDE),
            KeyTypes("uuid", "uuid"),
        ).question()
        assert question == Question(UUID, recent_post_ids=(UUID,), exclude_post_ids=(UUID,) * MAX_EXCLUDE)
        assert parse_parameters([("user_id", UUID.upper())], UUID_USERS).question() == Question(UUID)

    def test_users_and_posts_have_key_types_of_their_own(self) -> None:
        asked = parse_body(a_body(recent_post_ids=[7], exclude_post_ids=[-8]), KeyTypes("uuid", "integer")).question()
        assert asked == Question(UUID, recent_post_ids=(7,), exclude_post_ids=(-8,))
        wrong = a_body(recent_post_ids=["7"], exclude_post_ids=[UUID])
        assert wrong_fields(lambda: parse_body(wrong, KeyTypes("uuid", "integer"))) == [
            ["body", "recent_post_ids", 0], ["body", "exclude_post_ids", 0],
        ]  # fmt: skip

    @pytest.mark.parametrize("user", [42, 42.0, None, True, [], ["ana"], {}, "x" * (MAX_KEY_CHARACTERS + 1)])
    def test_what_is_no_text_key_is_named(self, user: object) -> None:
        body = a_body(user_id=user, recent_post_ids=["x", user])
        assert wrong_fields(lambda: parse_body(body, KeyTypes("text", "text"))) == [
            ["body", "user_id"], ["body", "recent_post_ids", 1],
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "user",
        [42, None, "", "42", "ana", UUID[:-1], UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}",
         f" {UUID}", f"{UUID}\n", f"{UUID}\x00", UUID.replace("6", "g"), UUID.replace("0", "٠")],
        ids=range(15),
    )  # fmt: skip
    def test_what_is_no_uuid_is_named(self, user: object) -> None:
        body = a_body(user_id=user, exclude_post_ids=[UUID, user])
        assert wrong_fields(lambda: parse_body(body, KeyTypes("uuid", "uuid"))) == [
            ["body", "user_id"], ["body", "exclude_post_ids", 1],
        ]  # fmt: skip

    @pytest.mark.parametrize("keys", [INTEGER_KEYS, KeyTypes("text", "text"), KeyTypes("uuid", "uuid")])
    @pytest.mark.parametrize(
        "body",
        [b'{"user_id": "\\ud800"}', b'{"user_id": "\\udc00\\ud800"}', b'{"user_id": "\xed\xa0\x80"}', b"{}",
         b'{"user_id": "\xff"}'],
    )  # fmt: skip
    def test_half_a_surrogate_pair_is_no_key(self, keys: KeyTypes, body: bytes) -> None:
        assert wrong_fields(lambda: parse_body(body, keys))[0][0] == "body"

    @pytest.mark.parametrize(
        ("keys", "user"),
        [
            (KeyTypes("text", "text"), "x" * 513),
            (KeyTypes("text", "text"), "\ud800"),
            (UUID_USERS, "42"),
            (UUID_USERS, ""),
        ],
    )
    def test_a_wrong_parameter_is_named(self, keys: KeyTypes, user: str) -> None:
        assert wrong_fields(lambda: parse_parameters([("user_id", user)], keys)) == [["query", "user_id"]]

    def test_a_refusal_does_not_repeat_the_key(self) -> None:
        with pytest.raises(InvalidRequest) as invalid:
            parse_body(a_body(user_id="a secret"), UUID_USERS)
        assert b"secret" not in invalid.value.body


def test_a_text_user_asked_by_get_is_decoded(start_gateway: StartGateway, store: MemoryObjectStore) -> None:
    publish_release(store, 8, keys={"user": "text", "post": "integer"})
    gateway = start_gateway()
    for user in ("42", "é\U0001f3d6 +&=%", "a\x00b", ""):
        answer = gateway.get(f"/recommend?user_id={quote(user, safe='')}&k=1&deadline_ms=20")
        assert (answer.status, answer.json["user_id"], answer.posts) == (200, user, [1])


@pytest.mark.parametrize(
    ("keys", "user", "post"),
    [
        (INTEGER_KEYS, ("integer", "int64"), ("integer", "int64")),
        (KeyTypes("text", "uuid"), ("string", None), ("string", "uuid")),
        (KeyTypes("uuid", "integer"), ("string", "uuid"), ("integer", "int64")),
        (KeyTypes("integer", "text"), ("integer", "int64"), ("string", None)),
    ],
)
def test_the_openapi_document_describes_the_key_types_in_force(
    start_gateway: StartGateway, keys: KeyTypes, user: tuple[str, str | None], post: tuple[str, str | None]
) -> None:
    store = MemoryObjectStore()
    posts = [UUID] if keys.post == "uuid" else ["slow-trains"] if keys.post == "text" else [1]
    publish_release(store, 7, keys=keys._asdict(), posts=posts, scores=[1.0], tags={})
    document = start_gateway(store=store).get("/openapi.json").json
    schemas = document["components"]["schemas"]
    request, response = schemas["RecommendRequest"]["properties"], schemas["RecommendResponse"]["properties"]
    parameters = {p["name"]: p for p in document["paths"]["/recommend"]["get"]["parameters"]}
    ids = {
        "asked": request["user_id"],
        "answered": response["user_id"],
        "by hand": parameters["user_id"]["schema"],
        "recent": request["recent_post_ids"]["items"],
        "excluded": request["exclude_post_ids"]["items"],
        "item": schemas["Item"]["properties"]["post_id"],
    }
    assert {name: (schema["type"], schema.get("format")) for name, schema in ids.items()} == {
        "asked": user, "answered": user, "by hand": user, "recent": post, "excluded": post, "item": post,
    }  # fmt: skip
    for name, limit in (("recent_post_ids", 200), ("exclude_post_ids", 10_000)):
        assert (request[name]["maxItems"], request[name]["default"]) == (limit, [])
    assert response["items"]["items"]["$ref"].endswith("/Item")
    for example in schemas["RecommendRequest"]["examples"]:
        parse_body(orjson.dumps(example), keys)
