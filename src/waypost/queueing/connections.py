"""Connections: HTTP/1.1 POSTs to one server over kept connections, for the calls that every batch makes.

http.client and urllib3 cost 0.15 and 0.3 ms of CPU a call, most of it headers that nobody looks at; this costs 0.03. It
knows what such a server answers: a status, and a body of stated length or in chunks. A dropped connection is noticed
before the next call, not repaired by a second try. From any thread.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
import weakref
from collections import deque
from dataclasses import dataclass

CONNECT_SECONDS = 1.0  # one hop inside a region or a cluster
MAX_KEPT = 32  # above the gateway's sender threads, and the worker's receivers and finishers
LEAST_SECONDS = 0.001  # 0 would mean not to wait, and less than 0 is refused
KEPT_SECONDS = 20.0  # idle; servers and what lies between forget a quiet connection some time after that
MAX_HEAD_BYTES = 1 << 16
READ_BYTES = 1 << 18
HEAD_END, LINE_END = b"\r\n\r\n", b"\r\n"


class NotHttp(Exception):
    """The other side does not speak as an HTTP/1.1 server does."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    keeps: bool  # the connection may be used again


class Connections:
    """`context`: TLS, where it is spoken. Calls raise OSError or NotHttp."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext | None = None, connect_seconds: float = CONNECT_SECONDS
    ) -> None:
        self._address, self._context, self._connect_seconds = (host, port), context, connect_seconds
        self._idle: deque[tuple[socket.socket, float]] = deque()  # and since when, monotonic seconds
        weakref.finalize(self, _close_all, self._idle)

    def post(self, head: bytes, body: bytes, seconds: float) -> Response:
        """Send a head (with its empty line) and a body; what is answered within so many seconds."""
        end = time.monotonic() + seconds
        connection = self._connection(seconds)
        try:
            connection.settimeout(max(end - time.monotonic(), LEAST_SECONDS))
            connection.sendall(head + body)
            response = _Reader(connection, end).response()
        except BaseException:
            connection.close()
            raise
        if response.keeps and len(self._idle) < MAX_KEPT:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()
        return response

    def close(self) -> None:
        """Idle connections; those in use close with their calls."""
        _close_all(self._idle)

    def _connection(self, seconds: float) -> socket.socket:
        """The kept one that was used last, unless the other side has closed it; else a new one."""
        while self._idle:
            try:
                connection, since = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if time.monotonic() - since < KEPT_SECONDS and not _is_readable(connection):
                return connection
            connection.close()
        return self._connect(min(seconds, self._connect_seconds))

    def _connect(self, seconds: float) -> socket.socket:
        connection = socket.create_connection(self._address, max(seconds, LEAST_SECONDS))
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a long poll through a forgetful NAT
            if self._context is not None:
                return self._context.wrap_socket(connection, server_hostname=self._address[0])
        except BaseException:
            connection.close()
            raise
        return connection


class _Reader:
    """One response, however it is cut into pieces."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection, self._end, self._read = connection, end, b""

    def response(self) -> Response:
        head = self._until(HEAD_END, MAX_HEAD_BYTES).lower()
        status = head[9:12]
        if not head.startswith(b"http/1.") or not status.isdigit():
            raise NotHttp("it is no HTTP/1.1 answer")
        keeps = head.startswith(b"http/1.1") and b"\r\nconnection: close" not in head
        length = _header(head, b"content-length")
        if _header(head, b"transfer-encoding") == b"chunked":
            body = self._chunks()
        elif length.isdigit():
            body = self._exactly(int(length))
        elif status == b"204":
            body = b""
        else:
            raise NotHttp("it does not say how long its body is")
        return Response(int(status), body, keeps)

    def _chunks(self) -> bytes:
        chunks = []
        while size := _chunk_size(self._until(LINE_END, MAX_HEAD_BYTES)):
            chunks.append(self._exactly(size))
            self._until(LINE_END, MAX_HEAD_BYTES)
        while self._until(LINE_END, MAX_HEAD_BYTES):  # trailers
            pass
        return b"".join(chunks)

    def _until(self, mark: bytes, most: int) -> bytes:
        """What comes before the mark."""
        while (at := self._read.find(mark)) < 0:
            if len(self._read) > most:
                raise NotHttp("its head has no end")
            self._read += self._more()
        found, self._read = self._read[:at], self._read[at + len(mark) :]
        return found

    def _exactly(self, size: int) -> bytes:
        pieces, count = [self._read], len(self._read)
        while count < size:
            pieces.append(piece := self._more())
            count += len(piece)
        whole = b"".join(pieces)
        self._read = whole[size:]
        return whole[:size]

    def _more(self) -> bytes:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        self._connection.settimeout(left)
        piece = self._connection.recv(READ_BYTES)
        if not piece:
            raise ConnectionResetError("the connection was closed before the answer ended")
        return piece


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise NotHttp("a chunk does not say how long it is") from None


def _header(head: bytes, name: bytes) -> bytes:
    """The value in a head of lower case; empty when it is not there."""
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(LINE_END)[0].strip() if found else b""


def _is_readable(connection: socket.socket) -> bool:
    """Nothing is due on an idle connection: what can be read is its end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _close_all(idle: deque[tuple[socket.socket, float]]) -> None:
    while idle:
        idle.pop()[0].close()
