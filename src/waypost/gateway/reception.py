"""Reception: what a caller is allowed before anybody looks at his question, shared by the connections of one server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

KEEP_ALIVE_SECONDS = 75.0  # longer than the 60 s after which load balancers close an idle connection themselves
WRITE_SECONDS = 10.0  # an answer that its caller does not read
LINGER_SECONDS = 1.0  # after a refusal, so that the caller reads it before a reset overtakes it
LINGER_BYTES = 1 << 20  # of what it still sends meanwhile, read and dropped
MAX_HEAD_BYTES = 32 << 10  # of request line and headers; nginx allows 4 times 8 KiB
MAX_HEADERS = 100  # the limit of Apache and of Python's own http.client


@dataclass(frozen=True)
class Patience:
    """Seconds that a caller is given."""

    head: float = 5.0  # from a head's first byte to its last, and from a new connection to its first request's head
    body: float = 10.0  # from the head's end to the body's: the longest deadline; a slower one is nobody's request


@dataclass
class Reception:
    """What the connections of one server share."""

    patience: Patience
    count_refused: Callable[[int], None]
    leaving: bool = False  # every answer closes its connection
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
