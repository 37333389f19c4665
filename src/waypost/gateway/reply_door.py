"""The door for workers: POST /replies with signed replies, on a port of its own that no caller reaches.

A bare ASGI application, because there is one path, one method and no content to negotiate.
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from waypost.errors import BadSignature, MalformedMessage
from waypost.gateway.inbox import Inbox
from waypost.queueing.replies import PATH, open_replies
from waypost.queueing.signing import Keyring


class ReplyDoor:
    """Wrapped in BodyLimit, which hands the body over whole."""

    def __init__(self, inbox: Inbox, keyring: Keyring) -> None:
        self._inbox, self._keyring = inbox, keyring

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
            self._inbox.reject(error)
            return 403
        except MalformedMessage as error:
            self._inbox.reject(error)
            return 400
        self._inbox.take(replies)
        return 204


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
