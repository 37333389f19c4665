"""Messages that no gateway of ours sent: unsigned, signed by a stranger, garbage, and signed ones whose reply address
leads elsewhere. Nobody may answer them, and nobody may call where they say."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.chaos.history import Hostile
from tests.chaos.proxies import TRAP_HOST
from tests.chaos.stage import Cast
from tests.chaos.world import HOSTILE_NUMBER, marks_of
from waypost.errors import QueueUnavailable
from waypost.questions import Question
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.protocols import OutgoingMessage
from waypost.queueing.signing import Keyring, MessageKey
from waypost.queueing.sqs import SqsQueue

DEADLINE_SECONDS = 2.0


def send_hostile(cast: Cast, trap_port: int, numbers: Iterator[int]) -> None:
    """One of each kind, past the proxies. A queue that is down spares us."""
    address = cast.gateway_reply_address
    stranger = Keyring([MessageKey(cast.stage.keyring.sign(b"").key_id, b"a secret of somebody else's")])
    wanted = [
        ("unsigned", None, address), ("signed by a stranger", stranger, address),
        ("address", cast.stage.keyring, f"{TRAP_HOST}:{trap_port}"),
        ("address", cast.stage.keyring, f"http://{TRAP_HOST}:{trap_port}/replies"),
    ]  # fmt: skip
    messages = [OutgoingMessage(b"no message of ours", {})]
    for kind, keyring, reply_to in wanted:
        messages.append(_message(cast, kind, keyring, reply_to, HOSTILE_NUMBER + next(numbers)))
    sqs = cast.stage.parts["sqs"].at
    try:
        SqsQueue(sqs.aws(), sqs.request_queue_url).send(messages)
    except QueueUnavailable:
        return


def _message(cast: Cast, kind: str, keyring: Keyring | None, reply_to: str, number: int) -> OutgoingMessage:
    marks, now, request = marks_of(number), time.time(), f"hostile-{number}"
    question = Question(marks.user, 10, exclude_post_ids=marks.excluded)
    body = encode(RecommendMessage(question, request, now, now + DEADLINE_SECONDS, reply_to))
    cast.history.add(Hostile(time.monotonic(), request, number, kind))
    if keyring is None:
        return OutgoingMessage(body, {})
    signature = keyring.sign(body)
    return OutgoingMessage(body, {"signature": signature.value, "key_id": signature.key_id})
