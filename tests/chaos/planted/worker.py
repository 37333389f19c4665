"""Bugs of a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.planted.planting import plant
from waypost.queueing.replies import HttpReplySender, Reply, ReplyResolver
from waypost.queueing.signing import Keyring
from waypost.worker import run
from waypost.worker.finish import Finishers
from waypost.worker.ledger import Ledger
from waypost.worker.loop import WorkerLoop
from waypost.worker.request import Answered, Request, handles_of

EVERY = 5  # of the replies to a gateway, one goes to another


def delete_before_reply() -> None:
    reply = Finishers._reply

    def hasty(self: Finishers, reply_to: str, group: list[Answered], stages: Any) -> bool:
        self._settlement._queue.delete(handles_of([one.request for one in group]))
        return reply(self, reply_to, group, stages)

    plant(Finishers, "_reply", hasty)


def no_age_check() -> None:
    plant(Request, "is_late", lambda self, now, needed: False)


def reply_address_from_message() -> None:
    """Whatever the message says is called."""

    def trusting(self: ReplyResolver, reply_to: str) -> tuple[str, int]:
        url = urlsplit(reply_to if "://" in reply_to else f"http://{reply_to}")
        host = url.hostname or "127.0.0.1"
        return "127.0.0.1" if host == "gateway" else host, url.port or 80

    plant(ReplyResolver, "resolve", trusting)


def infers_duplicates() -> None:
    """It never recognises a request."""

    def forgetful(self: Ledger, requests: Sequence[Request], now: float) -> tuple[list[Request], list[str], int]:
        return list(requests), [], 0

    plant(Ledger, "take_in", forgetful)


def lost_on_sigterm() -> None:
    """It ends at once, whatever is in hand."""

    def careless(*arguments: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))

    plant(run, "_stop_on_signals", careless)


def unsigned_accepted() -> None:
    plant(Keyring, "verify", lambda self, body, key_id, value: None)


def replies_to_another_gateway() -> None:
    send, known, sent = HttpReplySender.send, list[str](), list[int]()

    def confused(self: HttpReplySender, reply_to: str, replies: Sequence[Reply]) -> None:
        if reply_to not in known:
            known.append(reply_to)
        sent.append(len(replies))
        others = [address for address in known if address != reply_to]
        send(self, others[0] if others and len(sent) % EVERY == 0 else reply_to, replies)

    plant(HttpReplySender, "send", confused)


def answers_mixed_up() -> None:
    """In a batch everybody gets the next one's answer."""
    answer = WorkerLoop._answer_together

    def shifted(self: WorkerLoop, *arguments: Any) -> list[Answered]:
        right = answer(self, *arguments)
        return [Answered(one.request, other.answer) for one, other in zip(right, [*right[1:], *right[:1]], strict=True)]

    plant(WorkerLoop, "_answer_together", shifted)


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug
    for bug in (
        delete_before_reply, no_age_check, reply_address_from_message, infers_duplicates, lost_on_sigterm,
        unsigned_accepted, replies_to_another_gateway, answers_mixed_up,
    )
}  # fmt: skip
