"""The in-memory cluster behind HTTP, so that `HttpCluster` meets real requests, bodies, statuses and streams."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from waypost.errors import ClusterConflict, ClusterRefused
from waypost.kubernetes.credentials import Credentials
from waypost.kubernetes.http import MERGE_PATCH, HttpCluster
from waypost.kubernetes.memory import MemoryCluster
from waypost.kubernetes.protocols import Kind

TOKEN = "a-token"


@contextmanager
def http_cluster(memory: MemoryCluster, token: str = TOKEN) -> Iterator[HttpCluster]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(memory))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    cluster = HttpCluster(Credentials(url, ssl.create_default_context(), lambda: token, "default"))
    try:
        yield cluster
    finally:
        cluster.close()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(memory: MemoryCluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(self._get)

        def do_POST(self) -> None:
            self._answer(lambda kind, namespace, rest, body: memory.create(kind, namespace, body))

        def do_PATCH(self) -> None:
            if self.headers["Content-Type"] != MERGE_PATCH:
                self._send(415, {"message": "no merge patch"})
                return
            self._answer(lambda kind, namespace, rest, body: memory.patch(kind, namespace, rest[0], body))

        def _get(self, kind: Kind, namespace: str, rest: list[str], body: Any) -> Any:
            query = parse_qs(urlsplit(self.path).query)
            if rest[1:] == ["log"]:
                since = query.get("sinceTime", [None])[0]
                lines = memory.log(namespace, rest[0], query["container"][0], since)
                return [f"{line.stamp} {line.text}" for line in lines]
            if rest:
                return memory.get(kind, namespace, rest[0])
            selector = query.get("labelSelector", [""])[0]
            labels = dict(pair.split("=") for pair in selector.split(",") if pair)
            return {"items": list(reversed(memory.list(kind, namespace, labels)))}  # in no promised order

        def _answer(self, work: Any) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._send(401, {"message": "Unauthorized"})
                return
            try:
                found = work(*_addressed(self.path), body)
            except ClusterConflict as error:
                self._send(409, {"message": error.cause})
            except ClusterRefused as error:
                self._send(404 if "not found" in error.cause else 403, {"message": error.cause})
            else:
                self._send(200, found) if found is not None else self._send(404, {"message": "not found"})

        def _send(self, status: int, content: Any) -> None:
            text = "".join(f"{line}\n" for line in content) if isinstance(content, list) else json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words: object) -> None:
            pass

    return Handler


def _addressed(path: str) -> tuple[Kind, str, list[str]]:
    """/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/…, or /api/v1/…"""
    words = urlsplit(path).path.strip("/").split("/")
    at = words.index("namespaces")
    return Kind("/".join(words[1:at]), words[at + 2]), words[at + 1], words[at + 3 :]
