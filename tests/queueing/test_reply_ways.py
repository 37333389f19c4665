"""Every way from a worker to a gateway, held to one contract: the pod's own door, the SQS reply queue, the twin."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.reply_queues import labels_of_reply_queues
from waypost.clock import ManualClock, SystemClock
from waypost.errors import GatewayUnavailable, MalformedMessage, QueueUnavailable, RejectedError, SettingsError
from waypost.gateway.body_limit import BodyLimit
from waypost.gateway.reception import Patience
from waypost.gateway.reply_door import ReplyDoor
from waypost.gateway.servers import Servers
from waypost.questions import Answer
from waypost.queueing.replies import (
    MAX_REPLY_BODY_BYTES,
    HttpReplySender,
    MemoryReplyReceiver,
    MemoryReplySender,
    Reply,
    ReplyReceiver,
    ReplyResolver,
    ReplySender,
)
from waypost.queueing.reply_queue import DEAD_SECONDS, QueueReplyReceiver, QueueReplySender, ReplyQueueNames
from waypost.queueing.signing import Keyring, MessageKey
from waypost.queueing.sqs_calls import SqsCalls
from waypost.settings import AwsAccess

OURS = Keyring([MessageKey("2025", b"a new secret of ours!")])
FOREIGN = Keyring([MessageKey("2025", b"not a secret of ours!")])
LONGEST = tuple((f"{i:03d}\uffff" + "\U0001f3d6" * 508, 0.5) for i in range(100))  # \uffff is none of XML's characters


def a_reply(request_id: str = "5d41402a", items: tuple[tuple[int | str, float], ...] = ((19, 0.875),)) -> Reply:
    return Reply(request_id, 42, Answer(7, "graphsage", items))


@dataclass
class Way:
    """A gateway's end that is open, and workers' ends by the keys that they sign with."""

    receiver: ReplyReceiver
    sender_with: Callable[[Keyring], ReplySender]
    taken: list[Reply] = field(default_factory=list)
    rejected: list[RejectedError] = field(default_factory=list)

    def open(self) -> None:
        self.receiver.start(self.taken.extend, self.rejected.append)

    def send(self, *replies: Reply, keyring: Keyring = OURS) -> None:
        self.sender_with(keyring).send(self.receiver.reply_to, replies)

    def wait_for(self, count: int) -> list[Reply]:
        """The replies taken, once there are so many; the test's own timeout is the limit."""
        pause = threading.Event()
        while len(self.taken) < count:
            pause.wait(0.005)
        return self.taken


@pytest.fixture(params=["direct", "queue", "memory"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    if request.param == "direct":
        with a_door() as receiver:
            yield from opened(Way(receiver, lambda keyring: HttpReplySender(ReplyResolver("localhost"), keyring)))
    elif request.param == "queue":
        access, url = request.getfixturevalue("aws_access"), request.getfixturevalue("request_queue_url")
        queue = QueueReplyReceiver(access, url, "gateway", OURS, SystemClock(), long_poll_seconds=1)
        way = Way(queue, lambda keyring: QueueReplySender(access, url, keyring))
        yield from opened(way, lambda: queue.reply_to in labels_of_reply_queues(access, url))
    else:
        memory = MemoryReplySender(ReplyResolver("localhost"), OURS)
        yield from opened(Way(MemoryReplyReceiver(memory, "gateway:8090"), lambda keyring: memory_of(memory, keyring)))


def memory_of(memory: MemoryReplySender, keyring: Keyring) -> MemoryReplySender:
    """A sender into the same memory; with another key its replies are refused there."""
    if keyring is OURS:
        return memory
    return MemoryReplySender(ReplyResolver("localhost"), keyring)


def opened(way: Way, is_there: Callable[[], bool] = lambda: True) -> Iterator[Way]:
    way.open()
    pause = threading.Event()
    while not is_there():  # the test's own timeout is the limit
        pause.wait(0.02)
    yield way
    way.receiver.close()


class Door:
    """The gateway's door as a ReplyReceiver, on an event loop of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._servers = loop, Servers(16, Patience())
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.reply_to = f"gateway:{self._socket.getsockname()[1]}"
        self._closed = False

    def start(self, take: Callable[[list[Reply]], None], reject: Callable[[RejectedError], None]) -> None:
        inbox = type("Inbox", (), {"take": staticmethod(take), "reject": staticmethod(reject)})
        app = BodyLimit(ReplyDoor(inbox, OURS), MAX_REPLY_BODY_BYTES)  # type: ignore[arg-type]

        async def serve() -> None:  # on the loop, which the server asks for when it is made
            await self._servers.start(app, self._socket)

        asyncio.run_coroutine_threadsafe(serve(), self._loop).result()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            asyncio.run_coroutine_threadsafe(self._servers.stop(), self._loop).result()


@contextmanager
def a_door() -> Iterator[Door]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Door(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class TestReplyWay:
    def test_a_batch_arrives_whole_and_in_order(self, way: Way) -> None:
        replies = [a_reply(str(i)) for i in range(64)]
        way.send(*replies)
        assert way.wait_for(64) == replies

    def test_a_batch_of_the_longest_keys_arrives_whole(self, way: Way) -> None:
        replies = [a_reply(str(i), LONGEST) for i in range(30)]
        way.send(*replies)
        found = sorted(way.wait_for(30), key=lambda reply: int(reply.request_id))
        assert found == replies

    def test_a_second_batch_arrives_too(self, way: Way) -> None:
        way.send(a_reply("1"))
        way.wait_for(1)
        way.send(a_reply("2"))
        assert [reply.request_id for reply in way.wait_for(2)] == ["1", "2"]

    def test_a_gateway_that_is_gone_is_unavailable(self, way: Way) -> None:
        way.send(a_reply())
        way.wait_for(1)
        way.receiver.close()
        with pytest.raises(GatewayUnavailable):
            way.send(a_reply())

    def test_an_address_that_is_not_ours_is_never_called(self, way: Way) -> None:
        sender = way.sender_with(OURS)
        for address in (
            "http://127.0.0.1:8090", "", "gateway.evil.example", "-x", "x-", "Gateway", "../x", "a/x", "g" * 80,
        ):  # fmt: skip
            with pytest.raises(MalformedMessage):
                sender.send(address, [a_reply()])
        assert way.taken == []

    def test_what_another_key_signed_is_not_handed_over(self, way: Way) -> None:
        with suppress(GatewayUnavailable):  # a way that knows at once may say so
            way.send(a_reply("forged"), keyring=FOREIGN)
        way.send(a_reply("ours"))
        assert [reply.request_id for reply in way.wait_for(1)] == ["ours"]


class TestReplyQueue:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def a_gateway(
        self, aws_access: AwsAccess, request_queue_url: str, clock: ManualClock
    ) -> Callable[[], QueueReplyReceiver]:
        """One whose queue is there and whose threads do not run."""

        def made() -> QueueReplyReceiver:
            receiver = QueueReplyReceiver(aws_access, request_queue_url, "gateway", OURS, clock)
            receiver.beat()
            return receiver

        return made

    @pytest.fixture
    def queues(self, aws_access: AwsAccess, request_queue_url: str) -> Callable[[], set[str]]:
        """The labels of the reply queues that there are."""
        calls, prefix = SqsCalls(aws_access), ReplyQueueNames(request_queue_url).prefix

        def labels() -> set[str]:
            urls = calls.call("ListQueues", {"QueueNamePrefix": prefix}).get("QueueUrls") or []
            return {url.rpartition("/")[2].removeprefix(prefix) for url in urls}

        return labels

    def test_each_start_has_a_queue_of_its_own_and_a_graceful_stop_deletes_it(
        self, a_gateway: Callable[[], QueueReplyReceiver], queues: Callable[[], set[str]]
    ) -> None:
        one, other = a_gateway(), a_gateway()
        assert queues() == {one.reply_to, other.reply_to}
        one.close()
        assert queues() == {other.reply_to}

    def test_queues_of_dead_gateways_are_swept_and_of_no_others(
        self, a_gateway: Callable[[], QueueReplyReceiver], queues: Callable[[], set[str]], clock: ManualClock
    ) -> None:
        dead, living = a_gateway(), a_gateway()
        clock.sleep(DEAD_SECONDS - 1)
        assert living.sweep() == []
        clock.sleep(2)
        living.beat()
        sweeper = a_gateway()
        assert [name.endswith(dead.reply_to) for name in sweeper.sweep()] == [True]
        assert queues() == {living.reply_to, sweeper.reply_to}

    def test_a_queue_that_nobody_of_ours_made_is_left_alone(
        self,
        a_gateway: Callable[[], QueueReplyReceiver],
        queues: Callable[[], set[str]],
        aws_access: AwsAccess,
        request_queue_url: str,
        clock: ManualClock,
    ) -> None:
        name = ReplyQueueNames(request_queue_url).name("somebody-elses")
        SqsCalls(aws_access).call("CreateQueue", {"QueueName": name})
        clock.sleep(10 * DEAD_SECONDS)
        assert a_gateway().sweep() == []
        assert "somebody-elses" in queues()

    def test_a_gateway_whose_queue_was_swept_while_it_slept_makes_it_anew(
        self, a_gateway: Callable[[], QueueReplyReceiver], queues: Callable[[], set[str]], clock: ManualClock
    ) -> None:
        sleeper = a_gateway()
        clock.sleep(2 * DEAD_SECONDS)
        a_gateway().sweep()
        assert sleeper.reply_to not in queues()
        sleeper.beat()
        assert sleeper.reply_to in queues()

    def test_a_queue_that_is_down_is_told_and_stops_nobody(self) -> None:
        nobody = AwsAccess("http://127.0.0.1:1", "eu-west-1", "id", "secret")
        receiver = QueueReplyReceiver(nobody, "http://127.0.0.1:1/000000000000/requests", "g", OURS, SystemClock())
        with pytest.raises(QueueUnavailable):
            receiver.beat()
        receiver.start(lambda replies: None, lambda error: None)
        receiver.close()


class TestNames:
    def test_a_label_is_new_at_every_start_and_names_its_owner(self) -> None:
        names = ReplyQueueNames("https://sqs.eu-west-1.amazonaws.com/123456789012/waypost-requests")
        one, other = names.new_label("gateway-7f-x2"), names.new_label("gateway-7f-x2")
        assert one != other
        assert one.startswith("gateway-7f-x2-")
        assert names.url(one) == (f"https://sqs.eu-west-1.amazonaws.com/123456789012/waypost-requests-replies-{one}")

    def test_the_longest_owner_fits_the_name_that_sqs_takes(self) -> None:
        names = ReplyQueueNames("https://sqs.example/1/waypost-requests")
        assert len(names.name(names.new_label("g" * 63))) <= 80

    def test_a_request_queue_without_room_for_one_is_one_line(self) -> None:
        with pytest.raises(SettingsError, match="WAYPOST_GATEWAY_REPLY_WAY=direct"):
            ReplyQueueNames("https://sqs.example/1/" + "q" * 70).new_label("gateway")
