"""Connection: one caller's connection, uvicorn's httptools protocol with the limits that uvicorn lacks.

A head is short and comes soon, a body comes within its time, an answer is read within its time; who keeps none of that
is answered 400, 408 or 431 and cut. Nothing here sets a timer for a request: its server sweeps all connections twice a
second. It knows HTTP's framing and nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from http import HTTPStatus
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from waypost.gateway.exchange import Exchange
from waypost.gateway.reception import (
    KEEP_ALIVE_SECONDS,
    LINGER_BYTES,
    LINGER_SECONDS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    WRITE_SECONDS,
    Reception,
)


class Phase(IntEnum):
    """What the connection waits for."""

    IDLE = 0  # a request
    HEAD = 1  # the rest of a head
    BODY = 2  # the rest of a body
    BUSY = 3  # our answer
    ENDING = 4  # the caller to read our refusal


class Connection(HttpToolsProtocol):
    def __init__(
        self, reception: Reception, config: Config, server_state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, server_state, {}, loop)
        self._reception, self._patience = reception, reception.patience
        self.phase = Phase.IDLE
        self.since = loop.time()  # of this phase
        self._head_bytes = 0  # of an unfinished head, in whole pieces as they came
        self._piece_bytes = 0  # of the piece in hand
        self._too_large = False
        self._dropped = 0  # bytes that came after the refusal
        self._last_word: bytes | None = None  # a refusal that waits for the answers before it
        self._unread_since: float | None = None  # the caller reads too slowly
        self._closing_since: float | None = None

    # What the parser tells, in this order.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.phase, self.since, self._head_bytes = Phase.HEAD, self.loop.time(), 0

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._too_large = True
            raise ValueError("too many headers")  # the parser stops and says so

    def on_headers_complete(self) -> None:
        if self._is_head_too_long():
            self._too_large = True
            raise ValueError("headers too long")
        self._complete_scope()
        before, self.cycle = self.cycle, self._exchange()
        self.phase, self.since = Phase.BODY, self.loop.time()
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # sent ahead: it waits its turn
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _complete_scope(self) -> None:
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = self.parser.get_http_version()
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"], self.scope["query_string"] = url.path, url.query or b""

    def _exchange(self) -> Exchange:
        return Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self._may_stay_open(),
            on_response=self.on_response_complete,
        )

    def _may_stay_open(self) -> bool:
        is_old = self.scope["http_version"] == "1.0"
        return not is_old and not self._reception.leaving and self.parser.should_keep_alive()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        answered = self.cycle.response_complete
        self.phase, self.since = Phase.IDLE if answered else Phase.BUSY, self.loop.time()

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer for the keep-alive."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.since = self.loop.time()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.phase is Phase.BUSY:
            self.phase = Phase.IDLE
        elif self._last_word is not None:
            self._say_last(self._last_word)

    # What the transport tells.

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.ENDING:
            self._drop(data)
            return
        in_head, self._piece_bytes = self.phase is Phase.HEAD, len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # answered as if it had not asked; what follows is not HTTP
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse_head()
        else:
            if in_head and self.phase is Phase.HEAD:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._too_large = True
                    self._refuse_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.connections:
            self._reception.emptied.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    # What its server asks.

    def sweep(self, now: float) -> None:
        """Cut what is overdue."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
        if _older(self._unread_since, now, WRITE_SECONDS) or _older(self._closing_since, now, WRITE_SECONDS):
            self.transport.abort()
        elif not self.transport.is_closing():
            self._sweep_phase(now - self.since)

    def _sweep_phase(self, seconds: float) -> None:
        if self._last_word is not None:
            return
        if self.phase in (Phase.IDLE, Phase.ENDING):
            if seconds > self._silent_seconds():
                self.transport.close()
        elif self.phase is Phase.HEAD and seconds > self._patience.head and not self.answering:
            self._refuse(408, f"the headers did not come within {self._patience.head:g} seconds")
        elif self.phase is Phase.BODY and seconds > self._patience.body and not self.pipeline:
            self._sweep_body()

    def _silent_seconds(self) -> float:
        """How long it may stay without our saying anything."""
        if self.phase is Phase.ENDING:
            return LINGER_SECONDS
        return self._patience.head if self.cycle is None else KEEP_ALIVE_SECONDS

    def _sweep_body(self) -> None:
        if self.answering:
            self._refuse(408, f"the body did not come within {self._patience.body:g} seconds")
        else:  # answered long ago without it
            self.transport.close()

    @property
    def answering(self) -> bool:
        """Whether a request is in hand, its body perhaps still on the way."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_idle(self) -> bool:
        """Open for a request, of which nothing has come."""
        return self.phase is Phase.IDLE and not self.transport.is_closing()

    @property
    def waits_for_caller(self) -> bool:
        """Nothing of ours is lost when it is cut."""
        if self.phase in (Phase.HEAD, Phase.ENDING):
            return not self.answering
        return self.phase is not Phase.BUSY and not self.pipeline

    def leave(self) -> None:
        """Close after the answer in hand, if there is one."""
        if self.answering:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """No further request; a head or body that is on its way may still come within its time."""
        self.leave()
        if self.phase in (Phase.IDLE, Phase.ENDING) and self._last_word is None:
            self.transport.close()

    def evict(self) -> None:
        """To make room for another connection."""
        self.transport.abort() if self.phase is Phase.ENDING else self.transport.close()

    # How it refuses.

    def _is_head_too_long(self) -> bool:
        if self._head_bytes + self._piece_bytes <= MAX_HEAD_BYTES:
            return False
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES

    def _refuse_head(self) -> None:
        if self._too_large:
            self._refuse(431, f"the headers are more than {MAX_HEADERS} or longer than {MAX_HEAD_BYTES} bytes")
        else:
            self._refuse(400, "this is no HTTP request")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, and read on for a moment: a socket closed with unread bytes resets, and the answer may be lost."""
        reading, self.phase, self.since = self.phase is Phase.BODY, Phase.ENDING, self.loop.time()
        self._reception.count_refused(status)
        if reading and self.pipeline:
            self.pipeline.popleft()  # what is refused itself; those before it are answered first
            self._last_word = refusal(status, detail)
        elif self.answering and not reading:
            self._last_word = refusal(status, detail)
        else:
            self._forsake()
            self._say_last(refusal(status, detail))

    def _forsake(self) -> None:
        """The application has nobody to answer any more."""
        if self.answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _say_last(self, word: bytes) -> None:
        self._last_word, self.since = None, self.loop.time()
        if not (self.answering and self.cycle.response_started):
            self.transport.write(word)
        self.transport.write_eof()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > LINGER_BYTES:
            self.transport.abort()


def refusal(status: int, detail: str) -> bytes:
    """A whole HTTP response that ends its connection."""
    body = orjson.dumps({"detail": detail})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def _older(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since > seconds
