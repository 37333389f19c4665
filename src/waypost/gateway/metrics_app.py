"""/metrics on its own port, which no caller reaches: OpenMetrics with exemplars for who asks for it, else text."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from waypost.metrics import negotiated


class MetricsApp:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = scope["path"] == "/metrics"
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        body, content_type = (
            await asyncio.to_thread(negotiated, self._registry, accept) if found else (b"", "text/plain")
        )
        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
