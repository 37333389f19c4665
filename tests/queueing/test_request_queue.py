"""The queue's contract, held by SQS over HTTP and by the in-memory twin alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import boto3
import pytest

from waypost.clock import ManualClock
from waypost.errors import QueueUnavailable, SettingsError
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.protocols import MAX_BATCH_BYTES, Delivery, OutgoingMessage, RequestQueue
from waypost.queueing.sqs import SqsQueue, split
from waypost.settings import AwsAccess

VISIBILITY_SECONDS = 1  # SQS takes whole seconds
SIGNED = {"signature": "c2lnbmVk", "key_id": "2025"}


@dataclass(frozen=True)
class Under:
    """The queue under test and the way to let time pass for it."""

    queue: RequestQueue
    pass_seconds: Callable[[float], None]


@pytest.fixture(params=["memory", "sqs"])
def under(request: pytest.FixtureRequest) -> Under:
    if request.param == "memory":
        clock = ManualClock()
        return Under(MemoryQueue(clock, VISIBILITY_SECONDS), clock.sleep)
    access: AwsAccess = request.getfixturevalue("aws_access")
    url: str = request.getfixturevalue("request_queue_url")
    _shorten_visibility(access, url)
    return Under(SqsQueue(access, url), time.sleep)


def _shorten_visibility(access: AwsAccess, url: str) -> None:
    client = boto3.client(
        "sqs",
        endpoint_url=access.endpoint_url,
        region_name=access.region,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
    )
    with closing(client):
        client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})


def a_body(text: str = "{}") -> OutgoingMessage:
    return OutgoingMessage(text.encode(), SIGNED)


def receive_all(queue: RequestQueue) -> list[Delivery]:
    found: list[Delivery] = []
    while deliveries := queue.receive(10, 0):
        found += deliveries
    return found


class TestRequestQueue:
    def test_a_message_arrives_with_its_exact_body_and_attributes(self, under: Under) -> None:
        body = '{"query":"é\U0001f3d6\\u0000\\ufffe\\n "}'
        assert under.queue.send([a_body(body)]) == frozenset()
        (delivery,) = under.queue.receive(10, 2)
        assert delivery.body == body.encode()
        assert dict(delivery.attributes) == SIGNED
        assert delivery.receive_count == 1
        assert delivery.sent_at > 1_600_000_000

    def test_any_number_is_sent_and_at_most_ten_come_at_once(self, under: Under) -> None:
        assert under.queue.send([a_body(str(i)) for i in range(23)]) == frozenset()
        first = under.queue.receive(64, 0)
        assert 1 <= len(first) <= 10
        assert {d.body for d in first + receive_all(under.queue)} == {str(i).encode() for i in range(23)}

    def test_nothing_is_received_from_an_empty_queue(self, under: Under) -> None:
        assert under.queue.receive(10, 0) == []

    def test_a_received_message_is_invisible_until_its_time_is_up(self, under: Under) -> None:
        under.queue.send([a_body()])
        assert len(under.queue.receive(10, 2)) == 1
        assert under.queue.receive(10, 0) == []
        under.pass_seconds(VISIBILITY_SECONDS + 0.1)
        (again,) = under.queue.receive(10, 2)
        assert again.receive_count == 2

    def test_a_released_message_comes_again_at_once(self, under: Under) -> None:
        under.queue.send([a_body()])
        (first,) = under.queue.receive(10, 2)
        under.queue.release([first.receipt_handle])
        (again,) = under.queue.receive(10, 2)
        assert again.receive_count == 2

    def test_a_message_released_for_later_comes_again_only_then(self, under: Under) -> None:
        under.queue.send([a_body()])
        (first,) = under.queue.receive(10, 2)
        under.queue.release([first.receipt_handle], after_seconds=2)
        under.pass_seconds(VISIBILITY_SECONDS + 0.1)
        assert under.queue.receive(10, 0) == []
        under.pass_seconds(VISIBILITY_SECONDS)
        assert len(under.queue.receive(10, 2)) == 1

    def test_a_deleted_message_never_comes_again(self, under: Under) -> None:
        under.queue.send([a_body(str(i)) for i in range(12)])
        under.queue.delete([delivery.receipt_handle for delivery in receive_all(under.queue)])
        under.pass_seconds(VISIBILITY_SECONDS + 0.1)
        assert under.queue.receive(10, 0) == []

    def test_deleting_or_releasing_with_a_stale_handle_is_no_error(self, under: Under) -> None:
        under.queue.send([a_body()])
        (first,) = under.queue.receive(10, 2)
        under.queue.release([first.receipt_handle])
        (second,) = under.queue.receive(10, 2)
        under.queue.delete([second.receipt_handle])
        under.queue.delete([first.receipt_handle, "no handle at all"])
        under.queue.release([first.receipt_handle])
        assert under.queue.receive(10, 0) == []

    def test_depth_counts_what_waits_and_what_is_in_flight(self, under: Under) -> None:
        under.queue.send([a_body(), a_body(), a_body()])
        under.queue.receive(1, 2)
        depth = under.queue.depth()
        assert (depth.visible, depth.in_flight) == (2, 1)

    def test_a_message_that_is_too_large_is_named_and_the_others_are_sent(self, under: Under) -> None:
        large = a_body("x" * MAX_BATCH_BYTES)
        assert under.queue.send([a_body("1"), large, a_body("2")]) == frozenset({1})
        assert {d.body for d in receive_all(under.queue)} == {b"1", b"2"}

    def test_messages_that_are_too_large_together_are_all_sent(self, under: Under) -> None:
        half = "x" * (MAX_BATCH_BYTES * 6 // 10)
        assert under.queue.send([a_body(half), a_body(half), a_body("1")]) == frozenset()
        assert sorted(len(d.body) for d in receive_all(under.queue)) == [1, len(half), len(half)]

    def test_sending_and_deleting_nothing_is_nothing(self, under: Under) -> None:
        assert under.queue.send([]) == frozenset()
        under.queue.delete([])
        under.queue.release([])


class TestUnreachable:
    @pytest.fixture(params=["memory", "sqs"])
    def queue(self, request: pytest.FixtureRequest) -> RequestQueue:
        if request.param == "memory":
            return MemoryQueue(reachable=False)
        nobody = AwsAccess("http://127.0.0.1:1", "eu-west-1", "id", "secret")
        return SqsQueue(nobody, "http://127.0.0.1:1/000000000000/requests")

    @pytest.mark.parametrize(
        "call",
        [
            lambda queue: queue.send([a_body()]),
            lambda queue: queue.receive(10, 0),
            lambda queue: queue.delete(["handle"]),
            lambda queue: queue.release(["handle"]),
            lambda queue: queue.depth(),
        ],
        ids=["send", "receive", "delete", "release", "depth"],
    )
    def test_every_call_says_that_the_queue_is_unavailable(
        self, queue: RequestQueue, call: Callable[[RequestQueue], object]
    ) -> None:
        with pytest.raises(QueueUnavailable):
            call(queue)


def test_a_queue_that_does_not_exist_is_unavailable(aws_access: AwsAccess) -> None:
    queue = SqsQueue(aws_access, f"{aws_access.endpoint_url}/000000000000/nothing-here")
    with pytest.raises(QueueUnavailable, match="check WAYPOST_REQUEST_QUEUE_URL"):
        queue.send([a_body()])


def test_entries_that_sqs_refuses_one_by_one_are_named(aws_access: AwsAccess, request_queue_url: str) -> None:
    forbidden = OutgoingMessage("\ufffe".encode(), SIGNED)  # HTTP 200 with `Failed`
    queue = SqsQueue(aws_access, request_queue_url)
    assert queue.send([a_body("1"), forbidden, a_body("2")]) == frozenset({1})
    assert {d.body for d in receive_all(queue)} == {b"1", b"2"}


def test_a_missing_region_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(SettingsError, match="set AWS_REGION"):
        SqsQueue(AwsAccess(access_key_id="id", secret_access_key="secret"), "https://sqs.example/1/requests")


def test_batches_are_split_at_ten_entries_and_at_one_mebibyte() -> None:
    assert [len(batch) for batch in split(range(23), [100] * 23)] == [10, 10, 3]
    half = MAX_BATCH_BYTES // 2
    assert split([0, 1, 2, 3], [half, half, half + 1, half]) == [[0, 1], [2], [3]]
    assert split([], []) == []
