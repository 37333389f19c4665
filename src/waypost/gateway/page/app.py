"""The status page's own paths: `/`, its style, script and icon, the figures, and reasons for a list of posts.

Static files are open, for they say nothing; figures and reasons ask for an API key wherever `/recommend` does. Without
keys the gateway is on loopback only, and then a request must also name this machine as its host: a page elsewhere whose
name was turned to 127.0.0.1 gets nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlsplit

import orjson
from starlette.types import Receive, Scope, Send

from waypost.gateway.body_limit import (
    MAX_BODIES_BYTES,
    BodyRoom,
    BodyTooLarge,
    CallerGone,
    NoRoom,
    read_body,
    send_refusal,
)
from waypost.gateway.keys import RECOMMEND, ApiKeys
from waypost.gateway.page.neighbours import Neighbours, Silent
from waypost.gateway.page.watcher import Watcher

ROOT, PREFIX = "/", "/status/"
FIGURES, REASONS, PEOPLE = "/status/figures", "/status/reasons", "/status/people"
JSON, HTML = "application/json", "text/html; charset=utf-8"
MOST_BODY_BYTES = 256 << 10  # a question and its answer of a hundred posts
_SCRIPT = "text/javascript; charset=utf-8"
_STATIC = {
    ROOT: ("index.html", HTML),
    "/status/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/status/{name}.js": (f"{name}.js", _SCRIPT) for name in ("page", "ask", "key", "path", "words")},
    "/status/icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Answer:
    status: int
    media_type: str
    body: bytes


class StatusPage:
    def __init__(self, watcher: Watcher, neighbours: Neighbours, keys: ApiKeys) -> None:
        self._watcher, self._neighbours, self._keys = watcher, neighbours, keys
        self._room = BodyRoom(MAX_BODIES_BYTES)
        self._static = {path: Answer(200, kind, _content(name)) for path, (name, kind) in _STATIC.items()}

    async def watch(self) -> None:
        """Keep the figures fresh, until cancelled."""
        await self._watcher.watch()

    def takes(self, path: str) -> bool:
        return path == ROOT or path.startswith(PREFIX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive, MOST_BODY_BYTES, self._room)
        except (BodyTooLarge, NoRoom) as error:
            await send_refusal(413, str(error), _HEADERS, receive, send)
        except CallerGone:
            return
        else:
            headers = dict(scope["headers"])
            answer = self._refusal(scope, headers) or await self._answer(scope["path"], body)
            await _send(send, answer)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Answer | None:
        path, asks_by = scope["path"], scope["method"]
        if not self._keys.asked_for and _host(headers) not in _THIS_MACHINE:
            return _detail(421, "this page is for this machine: ask by 127.0.0.1 or localhost")
        if path not in self._static and path not in (FIGURES, REASONS, PEOPLE):
            return _detail(404, "Not Found")
        if asks_by not in (("POST",) if path == REASONS else ("GET", "HEAD")):
            return _detail(405, "POST" if path == REASONS else "only GET")
        if path in self._static:
            return None
        key = self._keys.find(headers.get(b"authorization"))
        if key is None:
            return _detail(401, "an API key is required")
        return None if RECOMMEND in key.scopes else _detail(403, "this API key may not see recommendations")

    async def _answer(self, path: str, body: bytes) -> Answer:
        if path in self._static:
            return self._static[path]
        if path == FIGURES:
            return _json(200, await asyncio.to_thread(self._watcher.figures))
        try:
            question = body if path == REASONS else None
            status, said = await asyncio.to_thread(self._neighbours.ask_reasons, path, question)
        except Silent:
            return _detail(503, "titles, history and reasons come from `waypost local run`, which does not answer")
        return Answer(status, JSON, said)


def _content(name: str) -> bytes:
    return files("waypost.gateway.page").joinpath("static", name).read_bytes()


def _host(headers: dict[bytes, bytes]) -> str | None:
    try:
        return urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}").hostname
    except ValueError:
        return None


def _json(status: int, content: object) -> Answer:
    return Answer(status, JSON, orjson.dumps(content))


def _detail(status: int, detail: str) -> Answer:
    return _json(status, {"detail": detail})


async def _send(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(answer.body)), *_HEADERS]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
