"""Exchange: one request and its answer, uvicorn's cycle with one difference: a whole answer is written at once.

uvicorn writes the head and the body apart, which is two calls of the kernel and two packets; they were a third of the
CPU time of a request here.
"""

from __future__ import annotations

from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class Exchange(RequestResponseCycle):
    _held: HTTPResponseStartEvent | None = None  # the start of an answer whose body has not come yet

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start" and self._may_be_whole(message):
            self._held = message
            return
        start, self._held = self._held, None
        if start is None:
            await super().send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send_whole(start, message.get("body", b""))
        else:
            await super().send(start)
            await super().send(message)

    def _may_be_whole(self, start: HTTPResponseStartEvent) -> bool:
        """An answer to HEAD has no body, and what says itself that the connection closes is rare."""
        names = [name for name, _ in start.get("headers", ())]
        return (
            not self.response_started
            and b"content-length" in names
            and b"connection" not in names
            and self.scope["method"] != "HEAD"
        )

    async def _send_whole(self, start: HTTPResponseStartEvent, body: bytes) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        pieces = [STATUS_LINE[start["status"]]]
        for name, value in start.get("headers", ()):
            pieces += (name, b": ", value, b"\r\n")
        pieces += (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n", body)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(pieces))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
