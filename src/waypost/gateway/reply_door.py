"""The door for workers: POST /replies with signed replies, on a port of its own that no caller reaches.

A bare ASGI application, because there is one path, one method and no content to negotiate.
"""

from __future__ import annotations

import logging

from starlette.types import Receive, Scope, Send

from waypost.errors import BadSignature, MalformedMessage
from waypost.gateway.pending import Pending
from waypost.metrics import GatewayMetrics
from waypost.queueing.replies import PATH, Reply, open_replies
from waypost.queueing.signing import Keyring

logger = logging.getLogger(__name__)


class ReplyDoor:
    """Wrapped in BodyLimit, which hands the body over whole."""

    def __init__(self, pending: Pending, keyring: Keyring, metrics: GatewayMetrics) -> None:
        self._pending, self._keyring, self._metrics = pending, keyring, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await _answer(send, 404)
            return
        body = (await receive()).get("body", b"")
        await _answer(
            send, self.take(body, {name.decode(): value.decode("latin-1") for name, value in scope["headers"]})
        )

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        """Hand the replies to those who wait; the HTTP status. `headers` by lower-case name."""
        try:
            replies = open_replies(body, headers, self._keyring)
        except BadSignature as error:
            return self._reject(403, error)
        except MalformedMessage as error:
            return self._reject(400, error)
        for reply in replies:
            self._resolve(reply)
        return 204

    def _resolve(self, reply: Reply) -> None:
        self._metrics.replies.labels("used" if self._pending.resolve(reply) else "late").inc()

    def _reject(self, status: int, error: Exception) -> int:
        self._metrics.replies.labels("rejected").inc()
        logger.warning("a reply was rejected", extra={"cause": str(error)})
        return status


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
