"""ReplyLink: the workers' way to one gateway's reply door, through a proxy that tells which replies came and what came
of them, repeats some, and forges some in the name of another user (it knows our keys, as a bug of ours would)."""

from __future__ import annotations

import time
from typing import Any

import orjson

from tests.chaos.history import History, Replied
from tests.chaos.http1 import Message
from tests.chaos.http_link import HttpLink
from tests.chaos.world import FIRST_USER, FORGED_POST, NUM_USERS
from waypost.queueing.replies import SIGNATURE_HEADER
from waypost.queueing.signing import Keyring

FORGED_ITEMS = 5


class ReplyLink(HttpLink):
    def __init__(
        self,
        gateway: str,
        listen: tuple[str, int],
        upstream: tuple[str, int],
        seed: int,
        keyring: Keyring,
        history: History,
    ) -> None:
        super().__init__(f"{gateway}/replies", listen, upstream, seed)
        self._gateway, self._keyring, self._history = gateway, keyring, history

    async def ask(self, request: Message) -> Message | None:
        if self.faults.draw("forge"):
            await self._send_too(self._forged(request))
        return None

    async def told(self, request: Message, response: Message) -> Message:
        request.notes.update(taken=response.status == 204, ended=time.monotonic())
        if self.faults.draw("repeat"):
            await self._send_too(Message(request.start, request.headers, request.body))
        return response

    def settled(self, request: Message, told: int) -> None:
        self._note(request, told, "worker")

    async def _send_too(self, request: Message) -> None:
        request.notes["at"] = time.monotonic()
        request.notes["taken"] = (await self.once(request)).status == 204
        self._note(request, 0, "proxy")

    def _forged(self, request: Message) -> Message:
        """The same replies to somebody else, with posts that do not exist."""
        content = orjson.loads(request.body)
        for reply in content["replies"]:
            reply["user_id"] = FIRST_USER + (reply["user_id"] + 1 - FIRST_USER) % NUM_USERS
            reply["items"] = [[FORGED_POST + i, 1.0 - i / 10] for i in range(FORGED_ITEMS)]
        body = orjson.dumps(content)
        signature = self._keyring.sign(body)
        headers = {**request.headers, SIGNATURE_HEADER.lower().encode(): signature.value.encode()}
        return Message(request.start, headers, body)

    def _note(self, request: Message, told: int, origin: str) -> None:
        for reply in _replies(request.body):
            self._history.add(
                Replied(
                    request.notes["at"], request.notes.get("ended", time.monotonic()),
                    self._gateway, reply["request_id"],
                    reply["user_id"], told, bool(request.notes.get("taken")), origin,
                )
            )  # fmt: skip


def _replies(body: bytes) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = orjson.loads(body)["replies"]
    except (ValueError, KeyError, TypeError):
        return []
    return found
