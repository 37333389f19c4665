"""The HTTP application: `/recommend` is answered here, in bare ASGI; every other path is FastAPI's (`document`).

FastAPI takes 0.2 ms for a request that needs 0.05: it makes objects of headers, query and response that nobody looks at
here. What an answer is, Recommender knows; what a caller may send, `models`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from waypost.gateway.body_limit import (
    MAX_BODIES_BYTES,
    BodyRoom,
    BodyTooLarge,
    CallerGone,
    NoRoom,
    authorization_and_length,
    drop_body,
    read_body,
    send_refusal,
)
from waypost.gateway.document import JSON, RECOMMEND_PATH, document_app
from waypost.gateway.keys import RECOMMEND, ApiKeys
from waypost.gateway.models import (
    InvalidRequest,
    RecommendParameters,
    RecommendRequest,
    parse_body,
    parse_parameters,
)
from waypost.gateway.page.app import StatusPage
from waypost.gateway.quotas import BUSY_RETRY_SECONDS, OverQuota, Quota, Quotas, Tenant
from waypost.gateway.recommend import Recommendation, Recommender, Refused
from waypost.gateway.request_lines import GatewayLines
from waypost.key_types import KeyTypes
from waypost.limits import MAX_BODY_BYTES, MIN_DEADLINE_MS
from waypost.logs import begin_request, request_id
from waypost.logs.requests import silent
from waypost.metrics import GatewayMetrics

MILLISECONDS = 1_000
LEAST_SECONDS = MIN_DEADLINE_MS / MILLISECONDS  # for an answer whose request took all its time to come
OTHER_KEYS = (KeyTypes("text", "text"), KeyTypes("text", "integer"), KeyTypes("integer", "text"))  # a UUID is a text
_CONTENT_TYPE = (b"content-type", JSON.encode())
_ALLOW = (b"allow", b"GET, POST")
_BEARER = (b"www-authenticate", b"Bearer")
Headers = Iterable[tuple[bytes, bytes]]
_Parse = Callable[[KeyTypes], RecommendRequest | RecommendParameters]


def create_app(
    recommender: Recommender,
    keys: ApiKeys,
    metrics: GatewayMetrics,
    quotas: Quotas | None = None,
    takes_traffic: Callable[[], bool] = lambda: True,
    page: StatusPage | None = None,
    lines: GatewayLines | None = None,
) -> ASGIApp:
    """The application of the public port. `takes_traffic`: false from the moment on that this gateway is to stop."""
    quotas = quotas or Quotas(Quota(), time.monotonic)
    quotas.adopt(keys.quotas)
    door = Door(recommender, keys, quotas, metrics, lines or GatewayLines(silent()))
    others = document_app(lambda: recommender.ready and takes_traffic(), lambda: recommender.key_types, keys.asked_for)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == RECOMMEND_PATH:
            await door(scope, receive, send)
        elif page is not None and scope["type"] == "http" and page.takes(scope["path"]):
            await page(scope, receive, send)
        else:
            await others(scope, receive, send)

    return app


class Denied(Exception):
    """What is said before the body is read, as 401 and 405: an answer, not an accident."""

    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes], tenant: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.tenant = status, detail, headers, tenant


class Door:
    """From a request to its response: key, quota, body, fields, answer, and the metrics and log line of each.

    Whoever has no key is told so before his body is read. A place among the requests in flight is taken after that, so
    that a slow body holds none.
    """

    def __init__(
        self, recommender: Recommender, keys: ApiKeys, quotas: Quotas, metrics: GatewayMetrics, lines: GatewayLines
    ) -> None:
        self._recommender, self._keys, self._quotas, self._metrics = recommender, keys, quotas, metrics
        self._lines = lines
        self._room = BodyRoom(MAX_BODIES_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        begin_request()
        authorization, length = authorization_and_length(scope["headers"])
        try:
            tenant = self._admit(authorization, began)
            parse = await self._parse_of(scope, receive, length)
        except Denied as denied:
            await self._refuse_unread(denied, length, receive, send)
        except OverQuota as over:
            retry = _retry(over.retry_after_seconds)
            await self._refuse_unread(
                Denied(over.status, over.detail, *retry, tenant=over.tenant), length, receive, send
            )
        except NoRoom:
            retry = _retry(BUSY_RETRY_SECONDS)
            await self._refuse_unread(Denied(429, "too many bodies are on their way", *retry), length, receive, send)
        except BodyTooLarge as error:
            self._counted(413, str(error))
            await send_refusal(413, str(error), (_id_header(),), receive, send)
        except CallerGone:
            return
        else:
            status, body, headers = await self._answer(parse, tenant, began)
            await _send(send, status, body, headers)

    def _admit(self, authorization: bytes | None, now: float) -> Tenant:
        """Raises Denied, OverQuota."""
        key = self._keys.find(authorization)
        if key is None:
            raise Denied(401, "an API key is required", _BEARER)
        if RECOMMEND not in key.scopes:
            raise Denied(403, "this API key may not ask for recommendations", tenant=key.tenant)
        tenant = self._quotas.tenant(key.tenant)
        tenant.take(now)
        return tenant

    async def _parse_of(self, scope: Scope, receive: Receive, length: int) -> _Parse:
        """The request's parser, holding what it parses. Raises BodyTooLarge, NoRoom, CallerGone, Denied."""
        if scope["method"] == "POST":
            if length > MAX_BODY_BYTES:
                raise BodyTooLarge(MAX_BODY_BYTES)
            body = await read_body(receive, MAX_BODY_BYTES, self._room)
            return lambda keys: parse_body(body, keys)
        if scope["method"] == "GET":
            pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            return lambda keys: parse_parameters(pairs, keys)
        raise Denied(405, "only GET and POST", _ALLOW)

    async def _answer(self, parse: _Parse, tenant: Tenant, began: float) -> tuple[int, bytes, Headers]:
        """Status, body and further headers. The deadline counts from the request's head on, metrics from its end."""
        arrived = time.monotonic()
        try:
            asked = self._parsed(parse)
            left = max(asked.deadline_ms / MILLISECONDS - (arrived - began), LEAST_SECONDS)
            with tenant.place():
                self._recommender.require_room()
                found = await self._recommender.recommend(asked.question(), arrived, left)
        except InvalidRequest as invalid:
            self._metrics.counted("422")
            self._lines.invalid(invalid.body, tenant.name)
            return 422, invalid.body, ()
        except (Refused, OverQuota) as refused:
            self._counted(refused.status, refused.detail, tenant.name)
            return refused.status, orjson.dumps({"detail": refused.detail}), _retry(refused.retry_after_seconds)
        body = await self._encoded(found, arrived)
        now = time.monotonic()
        self._lines.answered(found, tenant.name, now - arrived, left, now)
        return 200, body, ()

    def _parsed(self, parse: _Parse) -> RecommendRequest | RecommendParameters:
        try:
            return parse(self._recommender.key_types)
        except InvalidRequest:
            if self._recommender.knows_keys or not any(_accepts(parse, keys) for keys in OTHER_KEYS):
                raise
            raise Refused(503, "no release was read yet, and only a release says what ids are", 1) from None

    async def _encoded(self, found: Recommendation, arrived: float) -> bytes:
        began = time.monotonic()
        version, source = found.answer.model_version, found.answer.source
        await self._recommender.pause("encode", version)
        body = encode_recommendation(found)
        ended = time.monotonic()
        found.stages["encode"] = ended - began
        self._metrics.counted("200", source)
        self._metrics.answered(version, source, found.stages, ended - arrived, found.request_id)
        return body

    async def _refuse_unread(self, denied: Denied, length: int, receive: Receive, send: Send) -> None:
        """The body is not wanted any more; where it does not end soon, the connection goes with it."""
        self._counted(denied.status, denied.detail, denied.tenant)
        if length <= MAX_BODY_BYTES and await drop_body(receive, MAX_BODY_BYTES):
            await _send(send, denied.status, orjson.dumps({"detail": denied.detail}), denied.headers)
        else:
            await send_refusal(denied.status, denied.detail, (*denied.headers, _id_header()), receive, send)

    def _counted(self, status: int, detail: str, tenant: str | None = None) -> None:
        self._metrics.counted(str(status))
        self._lines.refused(status, detail, tenant)


def _accepts(parse: _Parse, keys: KeyTypes) -> bool:
    try:
        parse(keys)
    except InvalidRequest:
        return False
    return True


def encode_recommendation(found: Recommendation) -> bytes:
    """The response's body."""
    return orjson.dumps(
        {
            "request_id": found.request_id,
            "user_id": found.user_id,
            "model_version": found.answer.model_version,
            "source": found.answer.source,
            "degraded": found.degraded,
            "items": [{"post_id": post_id, "score": score} for post_id, score in found.answer.items],
        }
    )


def _id_header() -> tuple[bytes, bytes]:
    """Of the request in hand; its log line names the same."""
    return b"x-request-id", (request_id() or "").encode()


def _retry(seconds: int) -> Headers:
    return ((b"retry-after", b"%d" % seconds),)


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    facts = [_CONTENT_TYPE, (b"content-length", b"%d" % len(body)), _id_header(), *headers]
    await send({"type": "http.response.start", "status": status, "headers": facts})
    await send({"type": "http.response.body", "body": body})
