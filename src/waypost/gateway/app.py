"""The HTTP application: routes, statuses and the OpenAPI document of DESIGN 3.5. What an answer is, Recommender knows.

Bodies are parsed by pydantic straight from their bytes, because only so 42.0 and "42" are told from 42.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from waypost import __version__
from waypost.gateway.body_limit import BodyLimit
from waypost.gateway.keys import ApiKeys
from waypost.gateway.models import (
    InvalidRequest,
    Models,
    Problems,
    RecommendParameters,
    RecommendRequest,
    RecommendResponse,
    Refusal,
    models_for,
    parse_body,
    parse_parameters,
)
from waypost.gateway.recommend import Recommendation, Recommender, Refused
from waypost.limits import MAX_BODY_BYTES
from waypost.metrics import GatewayMetrics
from waypost.release.key_types import KeyTypes

MILLISECONDS = 1_000
JSON = "application/json"
_SCHEMAS = "#/components/schemas/"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "No API key, or an unknown one"},
    403: {"model": Refusal, "description": "The API key is out of scope"},
    422: {"model": Problems, "description": "A field is wrong; `loc` names it"},
    429: {"model": Refusal, "description": "Quota or concurrency cap; see Retry-After"},
    503: {
        "model": Refusal,
        "description": "No release was ever published, or this gateway is stopping; see Retry-After",
    },
}
_SECURITY: dict[str, Any] = {"security": [{}, {"key": []}]}


def create_app(recommender: Recommender, keys: ApiKeys, metrics: GatewayMetrics) -> FastAPI:
    """The application of the public port."""
    app = FastAPI(title="Waypost gateway", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES)
    door = _Door(recommender, keys, metrics)
    post_extra = {
        **_SECURITY,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": _SCHEMAS + RecommendRequest.__name__}}},
        },
    }
    too_large: dict[int | str, dict[str, Any]] = {
        413: {"model": Refusal, "description": "The body is larger than 1 MiB"}
    }

    @app.post(
        "/recommend",
        summary="Posts for a user",
        responses={200: {"model": RecommendResponse}, **too_large, **_REFUSALS},
        openapi_extra=post_extra,
    )
    async def recommend(request: Request) -> Response:
        body = await request.body()
        return await door.answer(request, lambda keys: parse_body(body, keys))

    @app.get(
        "/recommend",
        summary="Posts for a user, asked by a person",
        responses={200: {"model": RecommendResponse}, **_REFUSALS},
        openapi_extra=_SECURITY,
    )
    async def recommend_by_hand(request: Request) -> Response:
        pairs = request.query_params.multi_items()
        return await door.answer(request, lambda keys: parse_parameters(pairs, keys))

    @app.get(
        "/healthz", summary="The process is alive", responses={200: {"content": {JSON: {"example": {"ok": True}}}}}
    )
    async def healthz() -> Response:
        return _json(200, {"ok": True})

    @app.get(
        "/readyz",
        summary="Take traffic",
        responses={
            200: {"content": {JSON: {"example": {"ready": True}}}},
            503: {"description": "Not yet, or stopping"},
        },
    )
    async def readyz() -> Response:
        return _json(200 if recommender.ready else 503, {"ready": recommender.ready})

    generated = app.openapi

    @cache
    def document(keys: KeyTypes) -> dict[str, Any]:
        return _with_models(deepcopy(generated()), models_for(keys))

    app.openapi = lambda: document(recommender.key_types)  # type: ignore[method-assign]
    return app


_Parse = Callable[[KeyTypes], RecommendRequest | RecommendParameters]
OTHER_KEYS = (KeyTypes("text", "text"), KeyTypes("text", "integer"), KeyTypes("integer", "text"))  # a UUID is a text


def _accepts(parse: _Parse, keys: KeyTypes) -> bool:
    try:
        parse(keys)
    except InvalidRequest:
        return False
    return True


class _Door:
    """From a request to its response: key, room, fields, answer, and the metrics of each."""

    def __init__(self, recommender: Recommender, keys: ApiKeys, metrics: GatewayMetrics) -> None:
        self._recommender, self._keys, self._metrics = recommender, keys, metrics

    async def answer(self, request: Request, parse: _Parse) -> Response:
        arrived = time.monotonic()
        verdict = self._keys.judge(request.headers.get("authorization"))
        if verdict == "unknown":
            return self._refuse(401, "an API key is required", {"WWW-Authenticate": "Bearer"})
        if verdict == "out of scope":
            return self._refuse(403, "this API key may not ask for recommendations")
        try:
            asked = self._parsed(parse)
            self._recommender.require_room()
            found = await self._recommender.recommend(asked.question(), arrived, asked.deadline_ms / MILLISECONDS)
        except InvalidRequest as invalid:
            self._metrics.requests.labels("422", "none").inc()
            return Response(invalid.body, 422, media_type=JSON)
        except Refused as refused:
            return self._refuse(refused.status, refused.detail, {"Retry-After": str(refused.retry_after_seconds)})
        return await self._respond(found, arrived)

    def _parsed(self, parse: _Parse) -> RecommendRequest | RecommendParameters:
        try:
            return parse(self._recommender.key_types)
        except InvalidRequest:
            if self._recommender.knows_keys or not any(_accepts(parse, keys) for keys in OTHER_KEYS):
                raise
            raise Refused(503, "no release was read yet, and only a release says what ids are", 1) from None

    async def _respond(self, found: Recommendation, arrived: float) -> Response:
        began = time.monotonic()
        version, source = found.answer.model_version, found.answer.source
        await self._recommender.pause("encode", version)
        response = Response(encode_recommendation(found), media_type=JSON)
        ended = time.monotonic()
        found.stages["encode"] = ended - began
        self._metrics.requests.labels("200", source).inc()
        self._metrics.answered(version, source, found.stages, ended - arrived)
        return response

    def _refuse(self, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        self._metrics.requests.labels(str(status), "none").inc()
        return _json(status, {"detail": detail}, headers)


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


def _json(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type=JSON)


def _parameters(models: Models) -> list[dict[str, Any]]:
    """RecommendParameters as OpenAPI query parameters."""
    schema = models.parameters.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema["required"], "schema": _without_null_default(field)}
        for name, field in schema["properties"].items()
    ]


def _without_null_default(field: dict[str, Any]) -> dict[str, Any]:
    """An absent parameter is just absent: a query string has no null."""
    return {name: value for name, value in field.items() if value is not None}


def _with_models(document: dict[str, Any], models: Models) -> dict[str, Any]:
    """The document that FastAPI made, with what it cannot know: the bodies that are parsed from bytes, the keys, and
    the types of the app's ids, which come with a release."""
    shown: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (models.request, "validation"), (models.response, "validation"),
    ]  # fmt: skip
    _, schemas = models_json_schema(shown, ref_template=_SCHEMAS + "{model}")
    document["paths"]["/recommend"]["get"]["parameters"] = _parameters(models)
    components = document["components"]
    components["schemas"].update(schemas["$defs"])
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key"}}
    return document
