"""The least of an API server that helm needs for its look-ups: discovery of two kinds, and what it is given of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Object = dict[str, Any]
VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.4"}
SECRETS = {"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret", "verbs": ["get", "list"]}
CORE = {"kind": "APIResourceList", "groupVersion": "v1", "resources": [SECRETS]}
DEPLOYMENTS = {"name": "deployments", "singularName": "deployment", "namespaced": True, "kind": "Deployment",
               "verbs": ["get", "list"]}  # fmt: skip
APPS = {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [DEPLOYMENTS]}
APPS_V1 = {"groupVersion": "apps/v1", "version": "v1"}
GROUPS = [{"name": "apps", "versions": [APPS_V1], "preferredVersion": APPS_V1}]


@contextmanager
def reading(secrets: Mapping[str, Object], deployments: Sequence[Object] = ()) -> Iterator[str]:
    """The URL of a server that has these Secrets by name, and these Deployments, in whatever namespace."""
    listed = {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": list(deployments)}
    answers = {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": GROUPS},
        "/api/v1": CORE,
        "/apis/apps/v1": APPS,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.rpartition("/secrets/")[2]
            found = answers.get(path) or secrets.get(name)
            if path.startswith("/apis/apps/v1/") and path.endswith("/deployments"):
                found = listed
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class' name
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
