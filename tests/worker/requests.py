"""Requests of the worker for its tests, each with one visible difference: `a_request("r7", expires=2)`."""

from __future__ import annotations

from waypost.questions import Question
from waypost.queueing.messages import RecommendMessage
from waypost.queueing.protocols import Delivery
from waypost.worker.request import Request

GATEWAY = "gateway:8090"


def a_request(
    id: str = "r1",  # noqa: A002  as in the message
    *,
    expires: float = 1.0,
    span: float = 1.0,
    handle: str = "",
    received: float = 0.0,
    receive_count: int = 1,
    body: bytes = b"{}",
) -> Request:
    """Received at 0 of the monotonic clock, with a second's time."""
    handle = handle or f"{id}/{receive_count}"
    return Request(
        delivery=Delivery(body, {"signature": "s", "key_id": "k"}, handle, receive_count, 0.0),
        message=RecommendMessage(Question(42), id, 0.0, span, GATEWAY),
        received=received,
        ready=received,
        in_queue=0.0,
        span=span,
        expires=expires,
        handles=[handle],
    )
