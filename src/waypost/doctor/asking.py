"""One HTTP question with a timeout, past any proxy: its status, and what time the other side says it is."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

ANSWER_SECONDS = 1.0
MOST_BYTES = 1 << 20  # of a body; more is not read


@dataclass(frozen=True)
class Answer:
    status: int
    date: str | None  # the header
    body: str


def ask(url: str, seconds: float = ANSWER_SECONDS) -> Answer | None:
    """GET `url`; None when nobody answers it in time."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheader("Date"), answer.read(MOST_BYTES).decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
