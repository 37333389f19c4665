"""Replies: their JSON and where they may go; test_reply_ways.py has the ways there."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from waypost.errors import BadSignature, GatewayUnavailable, MalformedMessage
from waypost.questions import Answer
from waypost.queueing.replies import (
    MAX_REPLY_BODY_BYTES,
    HttpReplySender,
    Reply,
    ReplyResolver,
    decode_replies,
    encode_replies,
    open_replies,
    reply_bodies,
)
from waypost.queueing.signing import Keyring, MessageKey

OURS = Keyring([MessageKey("2025", b"a new secret of ours!")])
FOREIGN = Keyring([MessageKey("2025", b"not a secret of ours!")])


def a_reply(request_id: str = "5d41402a", **different: Any) -> Reply:
    answer = Answer(**{"model_version": 7, "source": "graphsage", "items": ((19, 0.875), (-3, 0.5)), **different})
    return Reply(request_id, 42, answer)


def altered(**different: Any) -> bytes:
    content = orjson.loads(encode_replies([a_reply()]))
    content["replies"][0].update(different)
    return orjson.dumps(content)


class TestReplyBody:
    def test_replies_survive_the_way(self) -> None:
        replies = [a_reply(), a_reply("7", model_version=None, source="popular", items=())]
        assert decode_replies(encode_replies(replies)) == replies

    @pytest.mark.parametrize(
        "key", ["", "42", "\x00\n", "\U0001f3d6" * 512, "\ufffe", "6f1d3a52-8c04-4b7e-9a35-2d5c0e7b9f10"]
    )
    def test_text_keys_survive_the_way(self, key: str) -> None:
        reply = Reply("5d41402a", key, Answer(7, "graphsage", ((key, 0.5), ("other", 0.25))))
        assert decode_replies(encode_replies([reply])) == [reply]

    def test_replies_of_the_longest_keys_are_split_into_bodies_that_a_gateway_takes(self) -> None:
        items = tuple((f"{i:03d}" + "\x00" * 509, 0.5) for i in range(100))  # a NUL is six bytes of JSON
        replies = [a_reply(str(i), items=items) for i in range(256)]
        bodies = list(reply_bodies(replies))
        assert max(map(len, bodies)) <= MAX_REPLY_BODY_BYTES
        assert [reply for body in bodies for reply in decode_replies(body)] == replies

    def test_replies_of_integer_keys_travel_in_one_body(self) -> None:
        items = tuple((-(2**63) + i, 0.123456789012345) for i in range(100))
        replies = [a_reply(str(i), items=items) for i in range(256)]
        assert list(reply_bodies(replies)) == [encode_replies(replies)]

    def test_the_body_is_the_exact_json_of_schema_1(self) -> None:
        assert orjson.loads(encode_replies([a_reply()])) == {
            "schema": 1,
            "replies": [
                {
                    "request_id": "5d41402a",
                    "user_id": 42,
                    "model_version": 7,
                    "source": "graphsage",
                    "items": [[19, 0.875], [-3, 0.5]],
                }
            ],
        }

    @pytest.mark.parametrize(
        "body",
        [
            b"not JSON",
            b"[]",
            b'{"schema":2,"replies":[]}',
            b'{"schema":1,"replies":{}}',
            b'{"schema":1,"replies":[7]}',
            b'{"schema":1,"replies":[],"more":1}',
            orjson.dumps({"schema": 1, "replies": [{}] * 257}),
            altered(more=1),
            altered(request_id=7),
            altered(user_id=None),
            altered(user_id="x" * 513),
            altered(user_id=2**63),
            altered(model_version="7"),
            altered(model_version=True),
            altered(source="random"),
            altered(source=["graphsage"]),
            altered(items=None),
            altered(items=[[1]]),
            altered(items=[[1, None]]),
            altered(items=[["x" * 513, 0.5]]),
            altered(items=[[None, 0.5]]),
            altered(items=[[True, 0.5]]),
            altered(items=[[2**63, 0.5]]),
            altered(items=[[1, 0.5]] * 101),
        ],
        ids=range(24),
    )
    def test_what_is_not_ours_is_malformed(self, body: bytes) -> None:
        with pytest.raises(MalformedMessage):
            decode_replies(body)

    def test_an_unsigned_or_foreign_body_is_not_opened(self) -> None:
        body = encode_replies([a_reply()])
        foreign = FOREIGN.sign(body)
        with pytest.raises(BadSignature):
            open_replies(body, {}, OURS)
        with pytest.raises(BadSignature):
            open_replies(body, {"x-waypost-signature": foreign.value, "x-waypost-key-id": foreign.key_id}, OURS)


class TestReplyResolver:
    def test_a_label_becomes_a_host_inside_the_domain_and_nothing_else(self) -> None:
        resolver = ReplyResolver("gateway-replies.waypost.svc")
        assert resolver.resolve("gateway-7f-x2:9001") == ("gateway-7f-x2.gateway-replies.waypost.svc", 9001)
        assert resolver.resolve("gateway-7f-x2") == ("gateway-7f-x2.gateway-replies.waypost.svc", 8090)

    def test_on_one_machine_every_gateway_is_loopback(self) -> None:
        assert ReplyResolver("localhost").resolve("gateway:43211") == ("127.0.0.1", 43211)

    @pytest.mark.parametrize(
        "address",
        ["", "gateway.evil.example", "http://gateway", "gateway:80", "gateway:65536", "gateway:", "gateway:8090\n",
         "-x", "x-", "Gateway", "gate way", "169.254.169.254", "[::1]:8090", "user@gateway", "gateway/x", "gateway#",
         "g" * 64, "gatewäy", "gateway:٨٠٩٠", "gateway:8090:1"],
    )  # fmt: skip
    def test_no_other_address_is_resolved(self, address: str) -> None:
        with pytest.raises(MalformedMessage):
            ReplyResolver("gateway-replies.waypost.svc").resolve(address)


@dataclass
class Gateway:
    """Takes replies as a gateway does and keeps them."""

    reply_to: str
    taken: list[Reply] = field(default_factory=list)


@pytest.mark.parametrize("status", [200, 302, 400, 403, 500])
def test_a_gateway_that_answers_anything_but_204_is_unavailable(status: int) -> None:
    with an_http_gateway(status) as gateway, pytest.raises(GatewayUnavailable, match=str(status)):
        HttpReplySender(ReplyResolver("localhost"), OURS).send(gateway.reply_to, [a_reply()])


class an_http_gateway:  # noqa: N801  read as a noun in a with statement
    def __init__(self, status: int = 204) -> None:
        self.status = status

    def __enter__(self) -> Gateway:
        outer = self
        taken: list[Reply] = []

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.extend(open_replies(body, {k.lower(): v for k, v in self.headers.items()}, OURS))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return Gateway(f"gateway:{self._server.server_port}", taken)

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
