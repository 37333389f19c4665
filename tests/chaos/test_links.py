"""The fault proxy itself, before a small service in the same loop: what the service saw, and what the peer was told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.chaos.history import Deleted, Delivered, History, Replied, Sent
from tests.chaos.http1 import Message, answer, read_message
from tests.chaos.http_link import HttpLink
from tests.chaos.link_faults import LinkFault
from tests.chaos.postbox import OWN_HANDLE, Postbox
from tests.chaos.reply_link import ReplyLink
from tests.chaos.sqs_link import SqsLink
from tests.chaos.world import FORGED_POST, marks_of
from waypost.local.ports import choose_ports
from waypost.questions import Question
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.signing import Keyring, MessageKey

HOST = "127.0.0.1"
QUEUE = f"http://{HOST}/000000000000/requests"
KEYRING = Keyring([MessageKey("k1", b"a secret of the tests!")])
NUMBER = 5
Service = Callable[[Message], Message]


@asynccontextmanager
async def served(make: Callable[[tuple[str, int], tuple[str, int]], HttpLink], service: Service) -> AsyncIterator[Any]:
    """A link before that service, and a function that asks through it on one kept connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_message(reader)) is not None:
            writer.write(service(request).encode())
        writer.close()

    upstream = await asyncio.start_server(serve, HOST, 0)
    port = choose_ports(("link",), {}, {}, ())["link"]
    link = make((HOST, port), (HOST, upstream.sockets[0].getsockname()[1]))
    await link.start()
    reader, writer = await asyncio.open_connection(HOST, port)

    async def ask(request: Message) -> Message | None:
        writer.write(request.encode())
        return await read_message(reader)

    try:
        yield link, ask
    finally:
        writer.close()
        await link.stop()
        upstream.close()


def a_link(listen: tuple[str, int], upstream: tuple[str, int]) -> HttpLink:
    return HttpLink("gateway-1/s3", listen, upstream, 1)


def broken(link: HttpLink, kind: str, seconds: float = 5.0) -> None:
    link.faults.order(LinkFault(kind, 1.0, time.monotonic() + seconds, 0.01))


def sqs_request(action: str, **content: Any) -> Message:
    headers = {b"x-amz-target": f"AmazonSQS.{action}".encode()}
    return Message(b"POST / HTTP/1.1", headers, orjson.dumps({"QueueUrl": QUEUE, **content}))


def a_body() -> str:
    marks = marks_of(NUMBER)
    question = Question(marks.user, exclude_post_ids=marks.excluded)
    return encode(RecommendMessage(question, "r1", time.time(), time.time() + 1, "gateway:1")).decode()


@pytest.mark.parametrize(
    ("kind", "told", "seen"),
    [("", 200, 1), ("error", 503, 0), ("error after", 500, 1), ("slow", 200, 1), ("delay", 200, 1)],
)
def test_a_fault_changes_what_the_peer_is_told_before_or_after_the_effect(kind: str, told: int, seen: int) -> None:
    asked: list[Message] = []

    def service(request: Message) -> Message:
        asked.append(request)
        return answer(200, b'"well"')

    async def play() -> None:
        async with served(a_link, service) as (link, ask):
            broken(link, kind)
            found = await ask(Message(b"GET /x HTTP/1.1", {b"host": b"x"}))
            assert found.status == told
            assert len(asked) == seen

    asyncio.run(play())


@pytest.mark.parametrize(("kind", "seen"), [("reset", 0), ("reset after", 1), ("blackhole", 0)])
def test_a_reset_or_a_black_hole_ends_the_connection(kind: str, seen: int) -> None:
    asked: list[Message] = []

    def service(request: Message) -> Message:
        asked.append(request)
        return answer(200)

    async def play() -> None:
        async with served(a_link, service) as (link, ask):
            broken(link, kind, seconds=0.05)
            with pytest.raises(ConnectionResetError):
                await ask(Message(b"GET /x HTTP/1.1"))
            assert len(asked) == seen

    asyncio.run(play())


def test_messages_are_followed_from_their_sending_to_their_delete_and_come_again() -> None:
    history, box, calls = History(), Postbox("requests"), list[str]()

    def service(request: Message) -> Message:
        content = orjson.loads(request.body)
        calls.append(request.headers[b"x-amz-target"].decode().partition(".")[2])
        if calls[-1] == "ReceiveMessage":
            message = {"MessageId": "m", "ReceiptHandle": "h", "Body": a_body(), "Attributes": {}}
            return answer(200, orjson.dumps({"Messages": [message]}))
        return answer(200, orjson.dumps({"Successful": [{"Id": one["Id"]} for one in content["Entries"]]}))

    async def play() -> None:
        def make(listen: tuple[str, int], upstream: tuple[str, int]) -> SqsLink:
            return SqsLink("worker-1", listen, upstream, 1, box, history)

        async with served(make, service) as (link, ask):
            await ask(sqs_request("SendMessageBatch", Entries=[{"Id": "0", "MessageBody": a_body()}]))
            broken(link, "duplicate")
            await ask(sqs_request("ReceiveMessage"))
            link.faults.clear()
            again = await _until_due(box, lambda: ask(sqs_request("ReceiveMessage")))
            handle = orjson.loads(again.body)["Messages"][0]["ReceiptHandle"]
            assert handle.startswith(OWN_HANDLE)
            done = await ask(sqs_request("DeleteMessageBatch", Entries=[{"Id": "0", "ReceiptHandle": handle}]))
            assert orjson.loads(done.body)["Successful"] == [{"Id": "0"}]
            await ask(sqs_request("DeleteMessageBatch", Entries=[{"Id": "0", "ReceiptHandle": "h"}]))

    asyncio.run(play())
    assert calls == ["SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"], "SQS knows nothing of the copy"
    assert [(one.request, one.number, one.taken) for one in history.of(Sent)] == [("r1", NUMBER, "yes")]
    assert [(one.request, one.how) for one in history.of(Delivered)] == [("r1", "plain"), ("r1", "duplicate")]
    assert [one.request for one in history.of(Deleted)] == ["r1", "r1"]


async def _until_due(box: Postbox, ask: Callable[[], Awaitable[Message]]) -> Message:
    ((due, _, _),) = box.due
    await asyncio.sleep(max(0.0, due - time.monotonic()) + 0.001)
    return await ask()


def test_a_send_that_is_throttled_in_part_or_lost_on_its_way_back_is_told_as_such() -> None:
    history = History()

    def service(request: Message) -> Message:
        return answer(200, orjson.dumps({"Successful": [{"Id": "0"}]}))

    async def play() -> None:
        def make(listen: tuple[str, int], upstream: tuple[str, int]) -> SqsLink:
            return SqsLink("gateway-1", listen, upstream, 1, Postbox("requests"), history)

        async with served(make, service) as (link, ask):
            send = sqs_request("SendMessageBatch", Entries=[{"Id": "0", "MessageBody": a_body()}])
            for kind in ("partial", "error", "error after"):
                broken(link, kind)
                send.notes = {}
                await ask(send)
                link.faults.clear()

    asyncio.run(play())
    assert [one.taken for one in history.of(Sent)] == ["no", "no", "unknown"]


def test_a_forged_reply_is_signed_by_us_and_for_another_user() -> None:
    history, asked = History(), list[Message]()
    reply = {"request_id": "r1", "user_id": marks_of(NUMBER).user, "items": [[1, 1.0]]}

    def service(request: Message) -> Message:
        asked.append(request)
        return Message(b"HTTP/1.1 204 No Content")

    async def play() -> None:
        def make(listen: tuple[str, int], upstream: tuple[str, int]) -> ReplyLink:
            return ReplyLink("gateway-1", listen, upstream, 1, KEYRING, history)

        async with served(make, service) as (link, ask):
            broken(link, "forge")
            await ask(Message(b"POST /replies HTTP/1.1", {}, orjson.dumps({"schema": 1, "replies": [reply]})))

    asyncio.run(play())
    forged, right = asked
    KEYRING.verify(forged.body, "k1", forged.headers[b"x-waypost-signature"].decode())
    (other,) = orjson.loads(forged.body)["replies"]
    assert other["user_id"] != reply["user_id"]
    assert other["items"][0][0] == FORGED_POST
    assert orjson.loads(right.body)["replies"] == [reply]
    assert {one.origin: one.user for one in history.of(Replied)} == {
        "worker": reply["user_id"], "proxy": other["user_id"],
    }  # fmt: skip
