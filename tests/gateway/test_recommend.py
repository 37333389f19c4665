"""A caller's way through the gateway, over real HTTP: the model's answer, or another in time, or a reason why not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from waypost.errors import StoreUnavailable
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import StoredObject
from waypost.questions import Answer
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.messages import decode
from waypost.queueing.protocols import OutgoingMessage
from waypost.queueing.replies import Reply, ReplySender, encode_replies, signed_headers

from .conftest import (
    KEYRING,
    Client,
    ScriptedAnswerer,
    StartGateway,
    StartWorker,
    eventually,
    publish_release,
)

PATIENT_MS = 10_000


class TestTheModelAnswers:
    def test_the_answer_has_exactly_the_fields_of_the_contract(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        start_worker()
        answer = gateway.post({"user_id": -5, "k": 2, "deadline_ms": PATIENT_MS})
        request_id = answer.json.pop("request_id")
        assert answer.status == 200
        assert isinstance(request_id, str)
        assert len(request_id) == 32
        assert answer.json == {
            "user_id": -5,
            "model_version": 7,
            "source": "graphsage",
            "degraded": False,
            "items": [{"post_id": 1000, "score": 1.0}, {"post_id": 1001, "score": 0.999}],
        }

    def test_the_question_arrives_as_it_was_asked(self, start_gateway: StartGateway, queue: MemoryQueue) -> None:
        gateway = start_gateway()
        asked = {
            "user_id": 42, "k": 3, "recent_post_ids": [7], "exclude_post_ids": [1, 2],
            "tags": {"any": ["Beach"], "all": ["family"], "none": []}, "query": "co\U0001f3d6ves\x00\ufffe",
            "exclude_seen": False, "deadline_ms": 20,
        }  # fmt: skip
        gateway.post(asked)
        (delivery,) = queue.receive(1, 0)
        KEYRING.verify(delivery.body, delivery.attributes["key_id"], delivery.attributes["signature"])
        question = decode(delivery.body).question
        assert (question.user_id, question.k, question.recent_post_ids) == (42, 3, (7,))
        assert (question.exclude_post_ids, question.exclude_seen) == ((1, 2), False)
        assert (question.tags.any, question.tags.all, question.tags.none) == (("Beach",), ("family",), ())
        assert question.query == "co\U0001f3d6ves\x00\ufffe"

    def test_the_message_ends_before_the_callers_deadline(
        self, start_gateway: StartGateway, queue: MemoryQueue
    ) -> None:
        start_gateway().post({"user_id": 42, "deadline_ms": 1_000})
        message = decode(queue.receive(1, 0)[0].body)
        assert 0 < message.deadline - message.issued_at < 1.0

    def test_people_may_ask_by_get(self, start_gateway: StartGateway, start_worker: StartWorker) -> None:
        gateway = start_gateway()
        start_worker()
        answer = gateway.get(f"/recommend?user_id=-42&k=3&query=a%20b&exclude_seen=false&deadline_ms={PATIENT_MS}")
        assert (answer.status, answer.json["user_id"], answer.posts) == (200, -42, [1000, 1001, 1002])

    def test_many_at_once_each_get_their_own_answer(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        start_worker()
        with ThreadPoolExecutor(16) as callers:
            answers = list(
                callers.map(
                    lambda user: gateway.post({"user_id": user, "k": 1 + user % 100, "deadline_ms": PATIENT_MS}),
                    range(200),
                )
            )
        assert all(answer.json["source"] == "graphsage" for answer in answers)
        assert [(answer.json["user_id"], len(answer.posts)) for answer in answers] == [
            (user, 1 + user % 100) for user in range(200)
        ]

    def test_a_second_reply_is_dropped_and_counted(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        start_worker(wrap=Twice)
        assert gateway.post({"user_id": 42, "deadline_ms": PATIENT_MS}).json["source"] == "graphsage"
        eventually(lambda: gateway.metric('waypost_gateway_replies_total{outcome="late"}') == 1)
        assert gateway.metric('waypost_gateway_replies_total{outcome="used"}') == 1

    def test_stages_and_requests_are_counted_with_the_answers_version(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        start_worker()
        gateway.post({"user_id": 42, "deadline_ms": PATIENT_MS})
        for stage in ("validate", "enqueue", "wait", "encode"):
            series = f'waypost_gateway_stage_seconds_count{{model_version="7",stage="{stage}",version="0.1.0"}}'
            assert gateway.metric(series) == 1, stage
        assert gateway.metric('waypost_gateway_requests_total{code="200",source="graphsage"}') == 1
        assert gateway.metric('waypost_gateway_release_info{model_version="7"}') == 1


@dataclass
class Twice:
    """Delivers everything twice, as SQS may make it happen."""

    sender: ReplySender

    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        self.sender.send(reply_to, replies)
        self.sender.send(reply_to, replies)


class TestTheModelDoesNotAnswer:
    def test_the_popular_answer_comes_degraded(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway()
        answer = gateway.post({"user_id": 42, "deadline_ms": 50})
        assert answer.status == 200
        assert (answer.json["degraded"], answer.json["source"], answer.json["model_version"]) == (True, "popular", None)
        assert answer.posts == list(range(1, 21))
        assert answer.json["items"][0]["score"] == 1_000.0
        assert gateway.metric('waypost_gateway_degraded_total{cause="timeout"}') == 1
        series = 'waypost_gateway_stage_seconds_count{model_version="none",stage="wait",version="0.1.0"}'
        assert gateway.metric(series) == 1

    def test_filters_and_excludes_are_honoured(self, start_gateway: StartGateway) -> None:
        answer = start_gateway().post(
            {
                "user_id": 42, "k": 3, "deadline_ms": 20, "exclude_post_ids": [2], "recent_post_ids": [4],
                "tags": {"any": ["BEACH"], "none": ["nightlife"]},
            }
        )  # fmt: skip
        assert answer.posts == [151]

    def test_a_late_reply_is_dropped_and_counted(self, start_gateway: StartGateway, start_worker: StartWorker) -> None:
        go_on = threading.Event()
        gateway = start_gateway()
        start_worker(ScriptedAnswerer(before=lambda: _wait(go_on)))
        assert gateway.post({"user_id": 42, "deadline_ms": 100}).json["degraded"]
        go_on.set()
        eventually(lambda: gateway.metric('waypost_gateway_replies_total{outcome="late"}') == 1)

    def test_a_queue_that_is_down_degrades_at_once_and_heals(
        self, start_gateway: StartGateway, start_worker: StartWorker, queue: MemoryQueue
    ) -> None:
        queue.reachable = False
        gateway = start_gateway()
        answer = gateway.post({"user_id": 42, "k": 5, "deadline_ms": PATIENT_MS})
        assert (answer.status, answer.json["degraded"], answer.posts) == (200, True, [1, 2, 3, 4, 5])
        assert gateway.metric('waypost_gateway_degraded_total{cause="queue"}') == 1
        queue.reachable = True
        start_worker()
        assert gateway.post({"user_id": 42, "deadline_ms": PATIENT_MS}).json["source"] == "graphsage"

    def test_a_dead_queue_is_noticed_and_nobody_waits_for_it_until_it_lives_again(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        gateway = start_gateway()
        not_asked = 'waypost_gateway_degraded_total{cause="breaker"}'
        with ThreadPoolExecutor(8) as callers:

            def ask_some() -> list[str]:
                asked = [{"user_id": user, "deadline_ms": 500} for user in range(8)]
                answers = list(callers.map(gateway.post, asked))
                assert {answer.status for answer in answers} == {200}
                return [answer.json["source"] for answer in answers]

            eventually(lambda: bool(ask_some()) and gateway.metric("waypost_gateway_breaker_state") == 2)
            before = gateway.metric(not_asked)
            ask_some()
            assert gateway.metric(not_asked) - before >= 7  # one may have been a probe
            start_worker()
            eventually(lambda: set(ask_some()) == {"graphsage"})
        assert gateway.metric('waypost_gateway_breaker_changes_total{state="closed"}') == 1

    def test_a_reply_for_another_user_is_not_used(self, start_gateway: StartGateway, queue: MemoryQueue) -> None:
        gateway = start_gateway()
        with ThreadPoolExecutor(1) as caller:
            asked = caller.submit(gateway.post, {"user_id": 42, "deadline_ms": PATIENT_MS})
            (delivery,) = queue.receive(1, 10)
            answer = Answer(7, "graphsage", ((1, 0.5),))
            assert send_reply(gateway, Reply(decode(delivery.body).request_id, 43, answer)) == 204
            assert asked.result().json["degraded"]
        assert gateway.metric('waypost_gateway_degraded_total{cause="reply"}') == 1

    def test_an_accident_inside_never_becomes_an_error(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway(queue=BrokenQueue())
        answer = gateway.post({"user_id": 42, "deadline_ms": PATIENT_MS})
        assert (answer.status, answer.json["degraded"], len(answer.posts)) == (200, True, 20)

    def test_a_question_too_large_for_the_queue_is_refused_by_field_and_not_degraded_for_ever(
        self, start_gateway: StartGateway
    ) -> None:
        asked = {"user_id": 42, "k": 1, "tags": {"none": ["\uffff" * 300_000]}, "deadline_ms": PATIENT_MS}
        answer = start_gateway().post(asked)
        assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["body", "tags", "none", 0])

    def test_a_fault_on_purpose_delays_its_version_only(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        start_worker()
        slow, untouched = start_gateway(fault="wait:300:7"), start_gateway(fault="wait:99999999:8")
        for gateway in (slow, untouched):
            assert gateway.post({"user_id": 42, "deadline_ms": PATIENT_MS}).json["source"] == "graphsage"
        labels = 'model_version="7",source="graphsage",version="0.1.0"'
        assert slow.metric(f"waypost_gateway_request_seconds_count{{{labels}}}") == 1
        assert slow.metric(f'waypost_gateway_request_seconds_bucket{{le="0.3",{labels}}}') == 0


def _wait(event: threading.Event) -> None:
    event.wait()


class BrokenQueue(MemoryQueue):
    def send(self, messages: Sequence[OutgoingMessage], within_seconds: float = 0) -> frozenset[int]:
        raise RuntimeError("nobody thought of this")


class TestReplies:
    def test_a_reply_with_a_wrong_signature_is_rejected(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway()
        assert send_reply(gateway, a_reply(), key_id="unknown") == 403
        assert gateway.metric('waypost_gateway_replies_total{outcome="rejected"}') == 1

    def test_a_signed_body_that_is_no_reply_is_rejected(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway()
        body = b'{"schema":1}'
        headers = signed_headers(KEYRING.sign(body))
        assert gateway.pool.request("POST", f"{gateway.replies_url}/replies", body=body, headers=headers).status == 400

    def test_a_reply_that_nobody_waits_for_is_taken_and_counted(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway()
        assert send_reply(gateway, a_reply()) == 204
        assert gateway.metric('waypost_gateway_replies_total{outcome="late"}') == 1

    def test_there_is_no_other_door(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway()
        assert gateway.pool.request("GET", f"{gateway.replies_url}/replies").status == 404
        assert gateway.pool.request("POST", f"{gateway.replies_url}/recommend").status == 404
        assert gateway.pool.request("POST", f"{gateway.url}/replies").status == 404


def a_reply() -> Reply:
    return Reply("5d41402a", 42, Answer(7, "graphsage", ()))


def send_reply(gateway: Client, reply: Reply, **different: str) -> int:
    body = encode_replies([reply])
    headers = signed_headers(KEYRING.sign(body))
    if "key_id" in different:
        headers["X-Waypost-Key-Id"] = different["key_id"]
    return gateway.pool.request("POST", f"{gateway.replies_url}/replies", body=body, headers=headers).status


@dataclass
class FailingStore(MemoryObjectStore):
    """S3 that can go away."""

    reachable: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def get(self, key: str) -> StoredObject | None:
        if not self.reachable:
            raise StoreUnavailable("S3 cannot be reached")
        return super().get(key)


class TestReleases:
    def test_without_s3_it_starts_not_ready_and_serves_once_s3_is_there(
        self, start_gateway: StartGateway, start_worker: StartWorker
    ) -> None:
        store = FailingStore()
        gateway = start_gateway(store=store, wait_until_ready=False)
        eventually(lambda: gateway.metric('waypost_gateway_pointer_reads_total{outcome="failed"}') > 0)
        assert gateway.get("/readyz").status == 503
        assert gateway.get("/healthz").status == 200
        refused = gateway.post({"user_id": 42, "deadline_ms": 20})
        assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        start_worker()  # the model may answer although the popularity list is not there yet
        assert gateway.post({"user_id": 42, "deadline_ms": PATIENT_MS}).json["source"] == "graphsage"
        store.reachable = True
        publish_release(store, 7)
        eventually(lambda: gateway.get("/readyz").status == 200)

    def test_as_long_as_no_release_was_ever_published_the_answer_is_503(self, start_gateway: StartGateway) -> None:
        store = MemoryObjectStore()
        gateway = start_gateway(store=store, wait_until_ready=False)
        eventually(lambda: "no release was ever published" in gateway.post({"user_id": 42}).json["detail"])
        assert gateway.get("/readyz").status == 503
        refused = gateway.post({"user_id": 42})
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert "no release was ever published" in refused.json["detail"]
        publish_release(store, 1)
        eventually(lambda: gateway.post({"user_id": 42, "deadline_ms": 20}).status == 200)

    def test_a_new_release_brings_its_own_popularity(
        self, start_gateway: StartGateway, store: MemoryObjectStore
    ) -> None:
        gateway = start_gateway()
        publish_release(store, 8, posts=[900], scores=[3.0], tags={})
        eventually(lambda: gateway.metric('waypost_gateway_release_info{model_version="8"}') == 1)
        assert gateway.post({"user_id": 42, "deadline_ms": 20}).posts == [900]
        assert gateway.metric('waypost_gateway_release_info{model_version="7"}') == 0

    def test_a_list_that_differs_from_its_manifest_is_not_used(
        self, start_gateway: StartGateway, store: MemoryObjectStore
    ) -> None:
        gateway = start_gateway()
        failed = 'waypost_gateway_pointer_reads_total{outcome="failed"}'
        publish_broken_release(store, 8)
        eventually(lambda: gateway.metric(failed) > 1)
        assert gateway.post({"user_id": 42, "k": 1, "deadline_ms": 20}).posts == [1]

    def test_a_store_that_goes_away_leaves_the_list_at_hand(self, start_gateway: StartGateway) -> None:
        store = FailingStore(reachable=True)
        publish_release(store, 7)
        gateway = start_gateway(store=store)
        store.reachable = False
        eventually(lambda: gateway.metric('waypost_gateway_pointer_reads_total{outcome="failed"}') > 1)
        assert gateway.get("/readyz").status == 200
        assert gateway.post({"user_id": 42, "k": 1, "deadline_ms": 20}).posts == [1]


def publish_broken_release(store: MemoryObjectStore, version: int) -> None:
    """Its popular.json was altered after the manifest was written, before the pointer moved."""
    other = MemoryObjectStore()
    publish_release(other, version)
    key = f"releases/release-{version}/popular.json"
    whole = other.get(key)
    assert whole is not None
    altered = whole.body.replace(b"[1,2,", b"[9,2,")  # still a whole list
    assert altered != whole.body
    store.put_new(key, altered)
    manifest = other.get(f"releases/release-{version}/manifest.json")
    assert manifest is not None
    store.put_new(f"releases/release-{version}/manifest.json", manifest.body)
    held = store.get("releases/current.json")
    pointer = other.get("releases/current.json")
    assert held is not None
    assert pointer is not None
    assert store.put_if("releases/current.json", pointer.body, held.etag)


class TestRefusals:
    def test_beyond_the_concurrency_cap_the_answer_is_429(
        self, start_gateway: StartGateway, queue: MemoryQueue
    ) -> None:
        gateway = start_gateway(concurrency=1)
        with ThreadPoolExecutor(1) as caller:
            first = caller.submit(gateway.post, {"user_id": 42, "deadline_ms": 1_000})
            eventually(lambda: queue.depth().visible == 1)
            refused = gateway.post({"user_id": 43})
            assert first.result().status == 200
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert gateway.post({"user_id": 43, "deadline_ms": 20}).status == 200

    def test_a_stopping_gateway_takes_nothing_new_and_still_gets_the_replies_it_waits_for(
        self, start_gateway: StartGateway, start_worker: StartWorker, queue: MemoryQueue
    ) -> None:
        gateway = start_gateway()
        with ThreadPoolExecutor(2) as callers:
            first = callers.submit(gateway.post, {"user_id": 42, "deadline_ms": PATIENT_MS})
            eventually(lambda: queue.depth().visible == 1)
            stopped = callers.submit(gateway.stop)
            eventually(lambda: is_closed(gateway))
            start_worker()
            assert first.result().json["source"] == "graphsage"
            stopped.result()

    def test_a_stopping_gateway_waits_for_the_deadlines_of_what_is_in_flight(
        self, start_gateway: StartGateway, queue: MemoryQueue
    ) -> None:
        gateway = start_gateway()
        with ThreadPoolExecutor(2) as callers:
            first = callers.submit(gateway.post, {"user_id": 42, "deadline_ms": 1_500})
            eventually(lambda: queue.depth().visible == 1)
            callers.submit(gateway.stop).result()
            assert (first.result().status, first.result().json["degraded"]) == (200, True)

    def test_an_unknown_path_is_404_and_another_method_405(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway()
        assert gateway.get("/recommendations").status == 404
        documented = gateway.get("/openapi.json").json["paths"]
        for path, takes in (("/recommend", "GET, POST"), ("/healthz", "GET"), ("/readyz", "GET")):
            refused = gateway.pool.request("DELETE", gateway.url + path)
            assert (refused.status, refused.headers["Allow"]) == (405, takes)
            assert isinstance(refused.json()["detail"], str)
            assert all("Allow" in operation["responses"]["405"]["headers"] for operation in documented[path].values())


def is_closed(gateway: Client) -> bool:
    url = urlsplit(gateway.url)
    with socket.socket() as probe:
        return probe.connect_ex((str(url.hostname), url.port or 0)) != 0


def test_the_openapi_document_is_complete(start_gateway: StartGateway) -> None:
    document = start_gateway().get("/openapi.json").json
    post = document["paths"]["/recommend"]["post"]
    assert set(post["responses"]) == {"200", "400", "401", "403", "405", "408", "413", "422", "429", "431", "503"}
    schemas = document["components"]["schemas"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/RecommendRequest")
    request = schemas["RecommendRequest"]
    assert request["required"] == ["user_id"]
    assert request["additionalProperties"] is False
    assert request["examples"]
    assert {name: field.get("default") for name, field in request["properties"].items()} == {
        "user_id": None, "k": 20, "recent_post_ids": [], "exclude_post_ids": [],
        "tags": {"any": [], "all": [], "none": []}, "query": None, "exclude_seen": True, "deadline_ms": 250,
    }  # fmt: skip
    assert {p["name"] for p in document["paths"]["/recommend"]["get"]["parameters"]} == {
        "user_id", "k", "query", "exclude_seen", "deadline_ms",
    }  # fmt: skip
    assert {"/recommend", "/healthz", "/readyz"} <= set(document["paths"])
    assert not [ref for ref in references(document) if ref.removeprefix("#/components/schemas/") not in schemas]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    bodies = [body for operation in operations for answer in operation["responses"].values()
              for body in answer["content"].values()]  # fmt: skip
    assert bodies
    assert all("example" in body for body in bodies)


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        return [node["$ref"]] if "$ref" in node else [ref for value in node.values() for ref in references(value)]
    return [ref for value in node for ref in references(value)] if isinstance(node, list) else []


def test_a_gateway_has_fewer_than_500_series_with_two_releases(
    start_gateway: StartGateway, start_worker: StartWorker
) -> None:
    gateway = start_gateway()
    answerer = ScriptedAnswerer()
    start_worker(answerer)
    for version in (5, 6, 7):
        answerer.model_version = version
        gateway.post({"user_id": 42, "deadline_ms": PATIENT_MS})
    gateway.post({"user_id": 42, "deadline_ms": 20})
    gateway.post({"user_id": "42"})
    text = gateway.pool.request("GET", f"{gateway.metrics_url}/metrics").data.decode()
    series = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(series) < 500
    assert not [line for line in series if "_created" in line]
    assert not [line for line in series if 'model_version="5"' in line]
    assert [line for line in series if 'model_version="6"' in line]


def test_bodies_may_be_answered_in_any_order_of_fields(start_gateway: StartGateway) -> None:
    body = orjson.dumps({"deadline_ms": 20, "k": 1, "user_id": 42})
    assert start_gateway().post(body, {"Content-Type": "text/plain"}).posts == [1]
