"""The API server over urllib3, which boto3 brings anyway: 0.2 s of CPU and 15 MB to import nothing that is not there
already, where the `kubernetes` package adds 75 MB to an image and 0.7 s and 40 MB to every process that imports it.

Every call ends: 2 s to connect, 10 s to answer, no retries; whoever calls looks again anyway. urllib3's exceptions end
here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError

from waypost.errors import ClusterConflict, ClusterRefused, ClusterUnavailable
from waypost.kubernetes.credentials import Credentials
from waypost.kubernetes.protocols import PODS, Json, Kind, LogLine

CONNECT_SECONDS, READ_SECONDS = 2.0, 10.0
QUIET_LOG_SECONDS = 10.0  # then whoever follows looks whether the container still runs
CONNECTIONS = 2  # one thread calls; a log is followed beside it
MERGE_PATCH = "application/merge-patch+json"
NOT_FOUND, CONFLICT, TOO_MANY, SERVER_ERROR = 404, 409, 429, 500
LOG_CHUNK = 16 * 1024


class HttpCluster:
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=CONNECTIONS,
            ssl_context=credentials.tls,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        )

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        try:
            return self._json("GET", _path(kind, namespace, name))
        except _NotThere:
            return None

    def list(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Json]:
        selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        found: list[Json] = self._json("GET", f"{_path(kind, namespace)}?{urlencode({'labelSelector': selector})}")[
            "items"
        ]
        return sorted(found, key=lambda item: str(item["metadata"]["name"]))

    def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        return self._json("POST", _path(kind, namespace), body)

    def patch(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        return self._json("PATCH", _path(kind, namespace, name), body, MERGE_PATCH)

    def log(
        self, namespace: str, pod: str, container: str, since: str | None = None, follow: bool = True
    ) -> Iterator[LogLine]:
        wanted = {"container": container, "follow": str(follow).lower(), "timestamps": "true"}
        if since is not None:
            wanted["sinceTime"] = since  # whole seconds count, so some lines may come again
        path = f"{_path(PODS, namespace, pod)}/log?{urlencode(wanted)}"
        patience = urllib3.Timeout(connect=CONNECT_SECONDS, read=QUIET_LOG_SECONDS)
        with self._reachable():
            answer = self._request("GET", path, None, "application/json", stream=True, timeout=patience)
            left = b""
            for chunk in answer.stream(LOG_CHUNK):
                *lines, left = (left + chunk).split(b"\n")
                yield from map(_log_line, lines)
            if left:
                yield _log_line(left)

    def close(self) -> None:
        self._pool.clear()

    def _json(self, method: str, path: str, body: Json | None = None, media: str = "application/json") -> Json:
        with self._reachable():
            answer = self._request(method, path, body, media)
            try:
                parsed: Json = json.loads(answer.data)
            except ValueError:
                raise ClusterUnavailable(f"{self._credentials.server} answered no JSON", "check its address") from None
            return parsed

    def _request(
        self, method: str, path: str, body: Json | None, media: str, *, stream: bool = False, timeout: Any = None
    ) -> urllib3.BaseHTTPResponse:
        """An answer of 2xx. Raises the error of any other one."""
        headers = {"Accept": "application/json, */*", "Content-Type": media}
        if token := self._credentials.token():
            headers["Authorization"] = f"Bearer {token}"
        more: dict[str, Any] = {"timeout": timeout} if timeout is not None else {}
        answer = self._pool.request(
            method,
            self._credentials.server + path,
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            preload_content=not stream,
            **more,
        )
        if answer.status >= 300:
            raise _error_of(answer.status, f"{method} {path.partition('?')[0]}", answer.data)
        return answer

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (HTTPError, OSError) as error:  # OSError: a token that cannot be read, a body that stops half-way
            raise ClusterUnavailable(
                f"the API server {self._credentials.server} cannot be reached: {type(error).__name__}",
                "check the kubeconfig and the network",
            ) from error


class _NotThere(ClusterRefused):
    """404: for a `get` an answer, for anything else a refusal."""


def _path(kind: Kind, namespace: str, name: str | None = None) -> str:
    root = f"/api/{kind.api}" if "/" not in kind.api else f"/apis/{kind.api}"
    path = f"{root}/namespaces/{quote(namespace, safe='')}/{kind.plural}"
    return path if name is None else f"{path}/{quote(name, safe='')}"


def _error_of(status: int, what: str, body: bytes) -> ClusterRefused | ClusterUnavailable:
    said = _message(body) or f"HTTP {status}"
    if status >= SERVER_ERROR or status == TOO_MANY:
        return ClusterUnavailable(f"the API server failed at {what}: {said}", "try again")
    if status == NOT_FOUND:
        return _NotThere(f"there is nothing at {what}: {said}", "check the namespace and the names")
    if status == CONFLICT:
        return ClusterConflict(f"{what}: {said}", "look again")
    return ClusterRefused(f"the API server refused {what}: {said}", "check the role bindings")


def _log_line(line: bytes) -> LogLine:
    stamp, _, text = line.decode(errors="replace").partition(" ")
    return LogLine(stamp, text)


def _message(body: bytes) -> str:
    """Of a Status object."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
