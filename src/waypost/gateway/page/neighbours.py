"""The page's neighbours on this machine: the worker's metrics, and `waypost local run`, which tells histories.

Each says where it listens in a small file of the stack's folder, which only its owner may enter. Where there is no such
folder, as in a cluster, there are no neighbours and the page says so.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

METRICS_SECONDS = 1.0  # a worker on this machine answers in milliseconds
REASONS_SECONDS = 30.0  # the first question after a release reads its tables
MOST_BYTES = 8 << 20  # of an answer; a worker's metrics are some 100 kB
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Silent(Exception):
    """A neighbour is not there, or did not answer in time."""


@dataclass(frozen=True)
class Neighbours:
    folder: Path | None  # `run` of WAYPOST_LOCAL_DIR

    def read_worker_metrics(self, names: tuple[str, ...]) -> str:
        """The worker's exposition, of these names at least. Raises Silent."""
        said = self._said("worker")
        query = urlencode([("name[]", name) for name in names])
        status, body = _ask("GET", f"{said.get('metrics_url', '')}?{query}", METRICS_SECONDS)
        if status != http.HTTPStatus.OK:
            raise Silent(f"the worker's metrics answer {status}")
        return body.decode(errors="replace")

    def ask_reasons(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and JSON of `waypost local run`'s answer. Raises Silent."""
        said = self._said("reasons")
        headers = {"Authorization": f"Bearer {said.get('token', '')}", "Content-Type": "application/json"}
        return _ask("GET" if body is None else "POST", f"{said.get('url', '')}{path}", REASONS_SECONDS, body, headers)

    def _said(self, name: str) -> Mapping[str, str]:
        try:
            said = json.loads((self.folder / f"{name}.json").read_text()) if self.folder else None
        except (OSError, ValueError):
            said = None
        if not isinstance(said, dict):
            raise Silent(f"no {name} on this machine")
        return {str(key): str(value) for key, value in said.items()}


def _ask(
    method: str, url: str, seconds: float, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Of this machine only, whatever the file says."""
    where = urlsplit(url)
    if where.scheme != "http" or where.hostname not in _LOOPBACK:
        raise Silent("it is not on this machine")
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=seconds)
    try:
        connection.request(
            method, f"{where.path}?{where.query}" if where.query else where.path, body, dict(headers or {})
        )
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Silent(type(error).__name__) from None
    finally:
        connection.close()
