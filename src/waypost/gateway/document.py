"""The OpenAPI document, which FastAPI makes from the routes declared here, and the rare routes, which FastAPI answers.

`/recommend` is only declared: `app` answers it before FastAPI sees the request. What FastAPI cannot know is added: the
bodies that are parsed from bytes, the keys, and the types of the app's ids, which come with a release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from waypost import __version__
from waypost.gateway.models import Models, Problems, RecommendRequest, RecommendResponse, Refusal, models_for
from waypost.key_types import KeyTypes

RECOMMEND_PATH = "/recommend"
JSON = "application/json"
_SCHEMAS = "#/components/schemas/"
_DESCRIPTION = """Posts for a user, within a deadline: the model's answer, or the popular posts marked `degraded`.

A request that is valid and authorised is answered 200, save 429 (quota or concurrency cap) and 503 (no release was ever
published, or stopping); both say in `Retry-After` when to ask again."""
_RETRY = {
    "Retry-After": {
        "description": "seconds until it is worth asking again",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    }
}
_ALLOW = {
    "Allow": {
        "description": "the methods that this path takes",
        "required": True,
        "schema": {"type": "string"},
        "example": "GET, POST",
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "how to show a key",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
        "example": "Bearer",
    }
}
_Responses = dict[int | str, dict[str, Any]]


class Alive(BaseModel):
    ok: bool = Field(examples=[True])


class Ready(BaseModel):
    ready: bool = Field(description="whether to send traffic here", examples=[True])


def _refusal(description: str, example: str, headers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": Refusal, "description": description, "content": {JSON: {"example": {"detail": example}}},
    }  # fmt: skip
    return {**found, "headers": headers} if headers else found


_WRONG_FIELD = {"loc": ["body", "k"], "msg": "Input should be less than or equal to 100", "type": "less_than_equal"}
_WRONG_PARAMETER = {**_WRONG_FIELD, "loc": ["query", "k"]}
_HEAD: _Responses = {
    400: _refusal("This is no HTTP request", "this is no HTTP request"),
    405: _refusal("Another method than this path takes", "only GET and POST", _ALLOW),
    408: _refusal("Headers or body did not come in time", "the body did not come within 10 seconds"),
    431: _refusal("Too many headers, or too long ones", "the headers are more than 100 or longer than 32768 bytes"),
}
_ANSWERS: _Responses = {
    200: {"model": RecommendResponse, "description": "k posts whenever so many are eligible"},
    **_HEAD,
    401: _refusal("No API key, or an unknown one", "an API key is required", _CHALLENGE),
    403: _refusal("The API key is out of scope", "this API key may not ask for recommendations"),
    422: {
        "model": Problems,
        "description": "A field is wrong; `loc` names it",
        "content": {JSON: {"example": {"detail": [_WRONG_FIELD]}}},
    },
    429: _refusal("Quota or concurrency cap", "512 requests are in flight already", _RETRY),
    503: _refusal("No release was ever published, or stopping", "this gateway is stopping", _RETRY),
}
_TOO_LARGE: _Responses = {413: _refusal("The body is larger than 1 MiB", "the body is larger than 1048576 bytes")}
_BY_PARAMETER: _Responses = {422: {**_ANSWERS[422], "content": {JSON: {"example": {"detail": [_WRONG_PARAMETER]}}}}}
_ALIVE: _Responses = {200: {"model": Alive, "content": {JSON: {"example": {"ok": True}}}}}
_READY: _Responses = {
    200: {"model": Ready, "description": "Take traffic", "content": {JSON: {"example": {"ready": True}}}},
    503: {
        "model": Ready, "description": "Not yet, or stopping", "content": {JSON: {"example": {"ready": False}}},
    },
}  # fmt: skip
_BODY = {"required": True, "content": {JSON: {"schema": {"$ref": _SCHEMAS + RecommendRequest.__name__}}}}


def document_app(ready: Callable[[], bool], key_types: Callable[[], KeyTypes], keys_asked_for: bool) -> FastAPI:
    """Every route but `/recommend`, and the document of all."""
    app = FastAPI(
        title="Waypost gateway", description=_DESCRIPTION, version=__version__, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    security: list[dict[str, list[str]]] = [{"key": []}] if keys_asked_for else [{}, {"key": []}]
    app.post(
        RECOMMEND_PATH,
        operation_id="recommend",
        summary="Posts for a user",
        description="The whole question in a body.",
        responses={**_ANSWERS, **_TOO_LARGE},
        openapi_extra={"security": security, "requestBody": _BODY},
    )(_answered_before)
    app.get(
        RECOMMEND_PATH,
        operation_id="recommend_by_hand",
        summary="Posts for a user, asked by a person",
        description="The short question in the query string.",
        responses={**_ANSWERS, **_BY_PARAMETER},
        openapi_extra={"security": security},
    )(_answered_before)

    @app.get("/healthz", summary="The process is alive", responses={**_ALIVE, **_HEAD})
    async def healthz() -> Response:
        return _json(200, {"ok": True})

    @app.get("/readyz", summary="Take traffic", responses={**_READY, **_HEAD})
    async def readyz() -> Response:
        is_ready = ready()
        return _json(200 if is_ready else 503, {"ready": is_ready})

    generated = app.openapi

    @cache
    def document(keys: KeyTypes) -> dict[str, Any]:
        return _with_models(deepcopy(generated()), models_for(keys))

    app.openapi = lambda: document(key_types())  # type: ignore[method-assign]
    return app


async def _answered_before() -> None:
    """`app` has answered already."""


def _json(status: int, content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)


def _with_models(document: dict[str, Any], models: Models) -> dict[str, Any]:
    """The document that FastAPI made, with the models of this app's ids."""
    shown: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (models.request, "validation"), (models.response, "validation"),
    ]  # fmt: skip
    _, schemas = models_json_schema(shown, ref_template=_SCHEMAS + "{model}")
    operations = document["paths"][RECOMMEND_PATH]
    for operation in operations.values():
        operation["responses"]["200"]["content"][JSON]["example"] = _example_answer(models)
    operations["get"]["parameters"] = _parameters(models)
    components = document["components"]
    components["schemas"].update(schemas["$defs"])
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key"}}
    return document


def _example_answer(models: Models) -> dict[str, Any]:
    """Of this app's types of ids, which stand in the examples of the fields."""
    fields = models.response.model_json_schema()
    found = {name: field["examples"][0] for name, field in fields["properties"].items() if "examples" in field}
    item = {name: field["examples"][0] for name, field in fields["$defs"]["Item"]["properties"].items()}
    return {**found, "source": "graphsage", "items": [item]}


def _parameters(models: Models) -> list[dict[str, Any]]:
    """RecommendParameters as OpenAPI query parameters."""
    schema = models.parameters.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema["required"], "schema": _without_null(field)}
        for name, field in schema["properties"].items()
    ]


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """An absent parameter is just absent: a query string has no null."""
    kept = {name: value for name, value in field.items() if value is not None and name != "anyOf"}
    for choice in field.get("anyOf", ()):
        kept |= choice if choice != {"type": "null"} else {}
    return kept
