"""The worker's small door: /metrics, /healthz (replace this process?) and /readyz (does it serve a proven release?)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from waypost.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_SECONDS = 5.0  # a client that sends nothing is dropped after this


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class' name
        """A line per probe helps nobody."""


class HealthServer:
    """Serves from a thread of its own between `start` and `stop`."""

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, alive: Callable[[], bool], ready: Callable[[], bool]
    ) -> None:
        """Raises SettingsError when the port cannot be had; port 0 takes a free one."""
        try:
            self._server = make_server(host, port, _application(registry, alive, ready), _Server, _Quiet)
        except OSError as error:
            raise SettingsError(
                f"{host}:{port} cannot be bound: {error.strerror}", "set WAYPOST_WORKER_METRICS_PORT to a free one"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self.url = f"http://{host}:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def _application(registry: CollectorRegistry, alive: Callable[[], bool], ready: Callable[[], bool]) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app(registry)
    probes = {"/healthz": alive, "/readyz": ready}

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        probe = probes.get(path)
        if probe is None:
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        well = probe()
        body = b'{"ok": true}' if well else b'{"ok": false}'
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("200 OK" if well else "503 Service Unavailable", headers)
        return [body]

    return application
