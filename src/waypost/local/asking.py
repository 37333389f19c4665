"""Asks a process on this machine one HTTP question, past any proxy, and takes no answer for a no."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

ANSWER_SECONDS = 1.0  # a healthy part on loopback answers in milliseconds


def answers_ok(url: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether GET `url` answers 200 in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
