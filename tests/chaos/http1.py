"""As much HTTP/1.1 as a proxy needs: a whole message in, a whole message out, and a connection reset on purpose.

Bodies come by Content-Length or in chunks and leave by Content-Length.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

MAX_HEAD_BYTES = 1 << 16
DRIPS = 8  # pieces of a slow body
NO_BODY = (b"1", b"204", b"304")


@dataclass
class Message:
    """A request or a response."""

    start: bytes  # its first line
    headers: dict[bytes, bytes] = field(default_factory=dict)  # by lower-case name
    body: bytes = b""
    notes: dict[str, Any] = field(default_factory=dict)  # a link's own, about this exchange

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.start.split(b" ", 2)[1])

    def encode(self) -> bytes:
        headers = {**self.headers, b"content-length": str(len(self.body)).encode()}
        headers.pop(b"transfer-encoding", None)
        lines = [self.start, *(name + b": " + value for name, value in headers.items())]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def answer(status: int, body: bytes = b"", content_type: bytes = b"application/json") -> Message:
    return Message(b"HTTP/1.1 %d Chaos" % status, {b"content-type": content_type}, body)


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """None when the connection ended between two messages. Raises OSError, asyncio.IncompleteReadError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    start, *lines = head[:-4].split(b"\r\n")
    pairs = (line.split(b":", 1) for line in lines)
    message = Message(start, {name.strip().lower(): value.strip() for name, value in pairs})
    message.body = await _read_body(reader, message)
    return message


async def _read_body(reader: asyncio.StreamReader, message: Message) -> bytes:
    if message.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return await _read_chunks(reader)
    return await reader.readexactly(int(message.headers.get(b"content-length", b"0")))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return b"".join(chunks)


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection by RST: what the peer has not read yet is lost to it."""
    bound = writer.get_extra_info("socket")
    if bound is not None:
        with suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def write_slowly(writer: asyncio.StreamWriter, data: bytes, seconds: float) -> None:
    step = max(1, -(-len(data) // DRIPS))
    for begin in range(0, len(data), step):
        writer.write(data[begin : begin + step])
        await writer.drain()
        await asyncio.sleep(seconds / DRIPS)
