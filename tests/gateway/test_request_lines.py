"""What gateway and worker log of requests, over real HTTP: every one that was no plain success, and of nobody whose."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from waypost.gateway.key_making import make_key
from waypost.gateway.quotas import Quota
from waypost.gateway.recommend import Recommendation
from waypost.gateway.request_lines import GatewayLines
from waypost.logs.lines import Line, LineFormatter, Process, as_json
from waypost.logs.requests import RequestLog
from waypost.logs.setup import CHATTY
from waypost.objects.memory import MemoryObjectStore
from waypost.questions import Answer, Question
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.messages import RecommendMessage, decode, encode
from waypost.queueing.protocols import OutgoingMessage
from waypost.queueing.replies import Reply
from waypost.stages import StageTimer

from .conftest import KEYRING, Client, ScriptedAnswerer, StartGateway, StartWorker, eventually
from .test_recommend import send_reply

PATIENT_MS = 10_000
# Whatever of these stands in a line was the caller's.
USER, POST, TAG, QUERY = 987_654_321_000, 876_543_210_000, "zanzibar-tag", "quokka words"
QUOTED = (str(USER)[:9], str(POST)[:9], "zanzibar", "quokka")
ASKED: dict[str, Any] = {
    "user_id": USER, "k": 3, "recent_post_ids": [POST + 1], "exclude_post_ids": [POST + 2],
    "tags": {"any": [TAG], "all": [], "none": [TAG]}, "query": QUERY,
}  # fmt: skip
SERVING = Process("gateway", serves=True, model_version=lambda: 7)


@dataclass
class Heard:
    """Every line of every logger of this process, as it would be written; those about requests as objects too."""

    texts: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def put(self, line: Line) -> None:
        self.texts.append(as_json(line, SERVING))
        self.requests.append(json.loads(self.texts[-1]))

    def log(self, one_of: int = 0) -> RequestLog:
        return RequestLog(self.put, one_of=one_of, quiet_seconds=1e9)

    def of(self, why: str) -> list[dict[str, Any]]:
        return [line for line in self.requests if line.get("why") == why]

    def one(self, why: str) -> dict[str, Any]:
        eventually(lambda: bool(self.of(why)))
        (line,) = self.of(why)
        return line

    def require_nothing_of_callers(self) -> None:
        assert self.texts
        leaking = [text for text in self.texts if any(word in text for word in QUOTED)]
        assert not leaking


class _Listening(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard
        self.setFormatter(LineFormatter(as_json, SERVING))

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.texts.append(self.format(record))


@pytest.fixture
def heard() -> Iterator[Heard]:
    """All of it, DEBUG included, looked through at the end."""
    found, root = Heard(), logging.getLogger()
    listening, level = _Listening(found), root.level
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)
    for chatty in CHATTY:  # as in a process; one of them is this test's own client
        logging.getLogger(chatty).setLevel(logging.WARNING)
    yield found
    root.removeHandler(listening)
    root.setLevel(level)
    found.require_nothing_of_callers()


def ask(gateway: Client, deadline_ms: int = PATIENT_MS, **different: Any) -> Any:
    return gateway.post({**ASKED, "deadline_ms": deadline_ms, **different})


class OddAnswerer(ScriptedAnswerer):
    """Raises what its `trouble` is, and answers with the callers' posts."""

    trouble: Exception | None = None

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
        if self.trouble is not None:
            raise self.trouble
        found = super().answer(questions, stages, patience)
        return [Answer(one.model_version, one.source, ((POST, 1.0), *one.items[1:])) for one in found]


class TestSuccesses:
    def test_of_a_sample_gateway_and_worker_have_a_line_of_the_same_request(
        self, start_gateway: StartGateway, start_worker: StartWorker, heard: Heard
    ) -> None:
        gateway = start_gateway(log=heard.log(one_of=1))
        start_worker(OddAnswerer(), log=heard.log(one_of=1))
        answer = ask(gateway)
        eventually(lambda: len(heard.of("sample")) == 2)
        by_gateway, by_worker = sorted(heard.of("sample"), key=lambda line: "tenant" not in line)
        assert {by_gateway["request_id"], by_worker["request_id"]} == {answer.json["request_id"]}
        assert by_gateway["request_id"] == answer.headers["X-Request-Id"]
        assert (by_gateway["model_version"], by_gateway["source"], by_gateway["degraded"]) == (7, "graphsage", False)
        assert set(by_gateway["stages_ms"]) == {"validate", "enqueue", "wait", "encode"}
        assert by_gateway["milliseconds"] + by_gateway["remaining_ms"] == pytest.approx(by_gateway["given_ms"], abs=0.3)
        assert (by_worker["batch"], by_worker["receive_count"], by_worker["items"]) == (1, 1, 3)
        assert {"queue_wait", "decode", "infer", "reply"} <= set(by_worker["stages_ms"])
        assert sum(by_worker["stages_ms"].values()) == pytest.approx(by_worker["milliseconds"], abs=0.1)

    def test_outside_the_sample_a_plain_success_has_none(
        self, start_gateway: StartGateway, start_worker: StartWorker, heard: Heard
    ) -> None:
        gateway = start_gateway(log=heard.log())
        start_worker(log=heard.log())
        assert ask(gateway).headers["X-Request-Id"]
        assert not [line for line in heard.requests if line.get("why") != "slow"]  # a busy machine is slow


class TestWhatIsNoSuccess:
    def test_a_degraded_answer_says_why(self, start_gateway: StartGateway, heard: Heard) -> None:
        gateway = start_gateway(log=heard.log())
        asked = [ask(gateway, deadline_ms=30) for _ in range(10)]
        eventually(lambda: len(heard.requests) == 10)
        assert [line["request_id"] for line in heard.requests] == [answer.json["request_id"] for answer in asked]
        assert {line["cause"] for line in heard.requests} == {"timeout"}
        assert {(line["source"], line["degraded"], line["level"]) for line in heard.requests} == {
            ("popular", True, "warning")
        }
        assert {line["model_version"] for line in heard.requests} == {7}  # the release that this gateway holds
        assert len({line["user"] for line in heard.requests}) == 1

    def test_an_answer_too_late_and_a_slow_one_are_told_though_they_are_the_models(self, heard: Heard) -> None:
        lines = GatewayLines(heard.log())
        found = Recommendation("f" * 32, USER, Answer(7, "graphsage", ()), False, {"wait": 0.3})
        lines.answered(found, "app", seconds=0.3, given=0.25, now=0.0)
        lines.answered(found, "app", seconds=0.3, given=1.0, now=0.0)
        assert heard.one("late")["remaining_ms"] == -50.0
        assert heard.one("slow")["level"] == "info"

    def test_a_queue_that_is_down_and_a_reply_that_is_anothers(
        self, start_gateway: StartGateway, queue: MemoryQueue, heard: Heard
    ) -> None:
        gateway = start_gateway(log=heard.log())
        queue.reachable = False
        assert ask(gateway).json["degraded"]
        queue.reachable = True
        with ThreadPoolExecutor(1) as caller:
            asked = caller.submit(ask, gateway)
            (delivery,) = queue.receive(1, 10)
            answer = Answer(7, "graphsage", ((POST, 0.5),))
            send_reply(gateway, Reply(decode(delivery.body).request_id, USER + 1, answer))
            asked.result()
        assert [line["cause"] for line in heard.of("degraded")] == ["queue", "reply"]

    def test_an_accident_is_told_once_with_the_requests_id_and_without_what_it_quotes(
        self, start_gateway: StartGateway, heard: Heard
    ) -> None:
        gateway = start_gateway(queue=QuotingQueue(), log=heard.log())
        answer = ask(gateway)
        (accident,) = [json.loads(text) for text in heard.texts if "messages not sent" in text]
        assert accident["request_ids"] == [answer.json["request_id"]]
        assert "RuntimeError" in accident["exception"]
        assert heard.one("degraded")["cause"] == "queue"

    @pytest.mark.parametrize(
        ("odd", "field"),
        [
            ({"user_id": f"{USER}"}, "user_id"),
            ({"user_id": float(USER)}, "user_id"),
            ({"k": USER}, "k"),
            ({f"user_{USER}": 1}, None),
            ({"tags": {TAG: [TAG]}}, "tags"),
            ({"tags": {"any": [USER]}}, "tags.any"),
            ({"query": [QUERY]}, "query"),
            ({"recent_post_ids": [f"{POST}"]}, "recent_post_ids"),
            ({"exclude_post_ids": {"a": POST}}, "exclude_post_ids"),
            ({"deadline_ms": QUERY}, "deadline_ms"),
        ],
    )
    def test_an_invalid_request_names_our_field_and_nothing_of_the_callers(
        self, start_gateway: StartGateway, heard: Heard, odd: dict[str, Any], field: str | None
    ) -> None:
        answer = ask(start_gateway(log=heard.log()), **odd)
        line = heard.one("refused")
        assert (answer.status, line["status"], line["tenant"]) == (422, 422, "anybody")
        assert line["request_id"] == answer.headers["X-Request-Id"]
        assert line["problems"][0]["field"] == field
        assert line["problems"][0]["type"]

    @pytest.mark.parametrize(
        "body", [b"", b"{", f'{{"user_id": {USER}'.encode(), QUERY.encode(), b"\xff\xfe" + TAG.encode(), b"[" * 30_000]
    )
    def test_a_body_that_is_no_json_is_not_quoted(self, start_gateway: StartGateway, heard: Heard, body: bytes) -> None:
        assert start_gateway(log=heard.log()).post(body).status == 422
        assert heard.one("refused")["status"] == 422

    def test_get_parameters_are_not_quoted(self, start_gateway: StartGateway, heard: Heard) -> None:
        gateway = start_gateway(log=heard.log())
        assert gateway.get(f"/recommend?user_id={USER}x&query=quokka&{TAG}=1").status == 422
        assert gateway.get(f"/recommend?user_id={USER}&user_id={USER}").status == 422
        assert len(heard.of("refused")) == 2

    def test_who_is_not_let_in_is_told_so_many_times_a_second_and_then_counted(
        self, start_gateway: StartGateway, heard: Heard, tmp_path: Path
    ) -> None:
        keys = tmp_path / "keys.json"
        key = make_key(keys, "app", None, Quota(requests_per_second=0.001, burst=1))
        log = heard.log()
        gateway = start_gateway(log=log, api_keys_file=keys)
        for _ in range(30):
            assert gateway.post(ASKED, {"Authorization": f"Bearer {QUERY}"}).status == 401
        let_in = {"Authorization": f"Bearer {key}"}
        assert [gateway.post({**ASKED, "deadline_ms": 20}, let_in).status for _ in range(2)] == [200, 429]
        log.tell_floods()
        told = [line for line in heard.of("refused") if line["status"] == 401]
        (counted,) = [line for line in heard.requests if line["event"] == "more like these"]
        assert counted["kind"] == "401"
        assert 10 <= len(told) < 30
        assert len(told) + counted["requests"] == 30
        assert all(len(line["request_id"]) == 32 for line in told)
        (over,) = [line for line in heard.of("refused") if line["status"] == 429]
        assert over["tenant"] == "app"
        assert key not in "".join(heard.texts)

    def test_no_release_other_methods_and_too_large_bodies(self, start_gateway: StartGateway, heard: Heard) -> None:
        gateway = start_gateway(store=MemoryObjectStore(), wait_until_ready=False, log=heard.log())
        eventually(lambda: gateway.post(ASKED).json.get("detail", "").startswith("no release was ever"))
        gateway.pool.request("DELETE", f"{gateway.url}/recommend?user_id={USER}")
        gateway.post(b"[" + TAG.encode() * 100_000)
        statuses = [line["status"] for line in heard.of("refused")]
        assert {503, 405, 413} == set(statuses)
        assert {line["level"] for line in heard.of("refused") if line["status"] == 503} == {"error"}

    def test_what_is_no_http(self, start_gateway: StartGateway, heard: Heard) -> None:
        gateway = start_gateway(log=heard.log())
        where = urlsplit(gateway.url)
        for nonsense in (f"GIVE {USER}\r\n\r\n", f"GET /{TAG} HTTP/9\r\n\r\n", f"GET / HTTP/1.1\r\n{QUERY}\r\n\r\n"):
            with socket.create_connection((str(where.hostname), where.port or 0)) as caller:
                caller.sendall(nonsense.encode())
                assert caller.recv(100).startswith(b"HTTP/1.1 400")
        assert [(line["event"], line["status"]) for line in heard.requests] == [("connection cut", 400)] * 3


@dataclass
class QuotingQueue(MemoryQueue):
    """Breaks in a way that quotes the message."""

    def __init__(self) -> None:
        super().__init__()

    def send(self, messages: Sequence[OutgoingMessage], within_seconds: float = 1.0) -> frozenset[int]:
        raise RuntimeError(messages[0].body.decode())


class TestTheWorker:
    def test_what_is_too_late_is_told_each(self, start_worker: StartWorker, queue: MemoryQueue, heard: Heard) -> None:
        queue.send([a_message(f"{i:032x}", seconds=-1) for i in range(5)])
        start_worker(log=heard.log())
        eventually(lambda: len(heard.of("expired")) == 5)
        assert {line["request_id"] for line in heard.of("expired")} == {f"{i:032x}" for i in range(5)}
        assert all(line["remaining_ms"] < 0 for line in heard.of("expired"))

    def test_a_question_that_fails_goes_back_and_in_the_end_to_the_dead_letters(
        self, start_worker: StartWorker, queue: MemoryQueue, heard: Heard
    ) -> None:
        dead, answerer = MemoryQueue(), OddAnswerer()
        answerer.trouble = ValueError(f"no row of user {USER} and {TAG}")
        queue.send([a_message("0" * 32)])
        start_worker(answerer, log=heard.log(), dead_letters=dead)
        line = heard.one("failed")
        assert (line["cause"], line["receive_count"], line["level"]) == ("ValueError", 3, "error")
        assert heard.one("dead letter")["request_id"] == "0" * 32
        back = [json.loads(text) for text in heard.texts if "it goes back" in text]
        assert [one["request_id"] for one in back] == ["0" * 32] * 2
        assert all("ValueError" in one["exception"] for one in back)

    def test_of_what_others_wrote_nothing_is_told_and_a_flood_is_bounded(
        self, start_worker: StartWorker, queue: MemoryQueue, heard: Heard
    ) -> None:
        foreign = encode(RecommendMessage(Question(USER), f"{USER}", 0.0, 1.0, "gateway:8090"))
        queue.send([OutgoingMessage(foreign, {"signature": "x", "key_id": TAG})] * 40)
        queue.send([signed(b'{"user_id": "quokka"}')])
        log = heard.log()
        start_worker(log=log, dead_letters=MemoryQueue())
        eventually(lambda: any(line.get("reason") == "MalformedMessage" for line in heard.requests))
        log.tell_floods()
        unsigned = [line for line in heard.of("rejected") if line["reason"] == "BadSignature"]
        counted = [line["requests"] for line in heard.requests if line.get("kind") == "BadSignature"]
        assert len(unsigned) + sum(counted) == 40
        assert len(unsigned) < 40

    def test_other_accidents_quote_nothing_either(
        self, start_gateway: StartGateway, start_worker: StartWorker, heard: Heard
    ) -> None:
        gateway = start_gateway(log=heard.log())
        start_worker(OddAnswerer(), wrap=lambda sender: QuotingWay(), log=heard.log())
        ask(gateway, deadline_ms=1_000)
        eventually(lambda: any("a batch was not finished" in text for text in heard.texts))
        (unfinished, *_) = [json.loads(text) for text in heard.texts if "a batch was not finished" in text]
        assert len(unfinished["request_ids"]) == 1


class QuotingWay:
    """Breaks in a way that quotes the reply."""

    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        raise RuntimeError(str(replies))


def a_message(request_id: str, seconds: float = 30.0) -> OutgoingMessage:
    now = time.time()
    question = Question(USER, recent_post_ids=(POST,), query=QUERY)
    return signed(encode(RecommendMessage(question, request_id, now, now + seconds, "gateway:8090")))


def signed(body: bytes) -> OutgoingMessage:
    signature = KEYRING.sign(body)
    return OutgoingMessage(body, {"signature": signature.value, "key_id": signature.key_id})
