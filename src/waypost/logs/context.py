"""Which request is in hand: its id is said by every line that is logged meanwhile, whoever logs it.

An asyncio task has a context of its own, so the requests of one gateway never see one another's. A worker has many in
hand at once: there a line about one of them names it itself.
"""

from __future__ import annotations

import os
from contextvars import ContextVar

REQUEST_ID_BYTES = 16  # as random as a UUID: two requests never share one
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def begin_request() -> str:
    """A new id, for the request that this context is about from now on."""
    made = os.urandom(REQUEST_ID_BYTES).hex()
    _request_id.set(made)
    return made


def request_id() -> str | None:
    """Of the request in hand; None where there is none."""
    return _request_id.get()
