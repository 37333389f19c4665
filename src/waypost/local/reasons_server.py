"""The door of `waypost local run` through which a gateway's status page asks for histories and reasons.

On loopback, with a token that stands in `run/reasons.json`, which only the stack's owner can read: histories are
nobody else's business on a machine of several users. It lives as long as `waypost local run`; nothing in production
has it, and the gateway needs neither Postgres nor numpy.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from waypost.errors import WaypostError
from waypost.local.layout import save_private
from waypost.local.ports import LOOPBACK
from waypost.local.reasons import Reasons

TOKEN_BYTES = 24
REQUEST_SECONDS = 5.0  # a client that sends nothing is dropped after this
MOST_BODY_BYTES = 256 << 10  # as the page's
MOST_POSTS = 100  # of an answer
MOST_RECENT = 200  # as a question's
STOP_SECONDS = 2.0
logger = logging.getLogger(__name__)


class BadQuestion(Exception):
    """400: what was sent is no question."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, served: Callable[[], Reasons], token: str) -> None:
        super().__init__((LOOPBACK, 0), _Door)
        self.served, self.token = served, token


class _Door(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        self._answer(lambda: {"people": self.server.served().people()}, "/status/people")

    def do_POST(self) -> None:
        self._answer(self._tell, "/status/reasons")

    def _answer(self, make: Callable[[], dict[str, Any]], path: str) -> None:
        try:
            if not self._is_asked_by_the_gateway():
                status, said = HTTPStatus.UNAUTHORIZED, _detail("not for you")
            elif self.path != path:
                status, said = HTTPStatus.NOT_FOUND, _detail("Not Found")
            else:
                status, said = HTTPStatus.OK, make()
        except BadQuestion as error:
            status, said = HTTPStatus.BAD_REQUEST, _detail(str(error))
        except WaypostError as error:
            status, said = HTTPStatus.SERVICE_UNAVAILABLE, _detail(str(error))
        except Exception:
            logger.exception("reasons were not told")
            status, said = HTTPStatus.INTERNAL_SERVER_ERROR, _detail("see the log of `waypost local run`")
        self._send(status, json.dumps(said).encode())

    def _is_asked_by_the_gateway(self) -> bool:
        shown = self.headers.get("Authorization", "").encode(errors="replace")
        return hmac.compare_digest(shown, f"Bearer {self.server.token}".encode())

    def _tell(self) -> dict[str, Any]:
        question = self._question()
        answer = question.get("answer")
        if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
            raise BadQuestion("the answer has no items")
        posts: list[Any] = [item.get("post_id") for item in answer["items"][:MOST_POSTS] if isinstance(item, dict)]
        recent = question.get("recent_post_ids", [])[:MOST_RECENT]
        if not all(isinstance(key, int | str) for key in (answer.get("user_id"), *posts, *recent)):
            raise BadQuestion("a key is a number or a text")
        return self.server.served().tell(answer["user_id"], posts, recent)

    def _question(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MOST_BODY_BYTES:
            raise BadQuestion("the body is empty or too large")
        try:
            question = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError):
            raise BadQuestion("the body is no JSON") from None
        if not isinstance(question, dict) or not isinstance(question.get("recent_post_ids", []), list):
            raise BadQuestion("the body is no question")
        return question

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class' name
        """A line per question helps nobody."""


def _detail(detail: str) -> dict[str, Any]:
    return {"detail": detail}


@contextmanager
def reasons_told(served: Callable[[], Reasons], said_at: Path) -> Iterator[None]:
    """Answer in a thread; `said_at` says where and with which token, as long as that is so."""
    server = _Server(served, secrets.token_urlsafe(TOKEN_BYTES))
    thread = threading.Thread(target=server.serve_forever, name="reasons", daemon=True)
    thread.start()
    url = f"http://{LOOPBACK}:{server.server_port}"
    save_private(said_at, json.dumps({"pid": os.getpid(), "url": url, "token": server.token}))
    try:
        yield
    finally:
        said_at.unlink(missing_ok=True)
        server.shutdown()
        server.server_close()
        thread.join(STOP_SECONDS)
