"""S3 answers a conditional write with 412 when another object is there, and with 409 when two writes met: the real
emulator behind a proxy that answers 409 where a test wants it, before or after the write took place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace as changed
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

import pytest

from tests.release.nights import TRUSTED, published
from waypost.errors import StoreUnavailable
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.audit import read_lines
from waypost.release.pointer import MOVE_ATTEMPTS, POINTER_KEY, read_pointer
from waypost.release.store import load_release
from waypost.settings import AwsAccess

CONFLICT = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ConditionalRequestConflict</Code>'
    b"<Message>The conditional request cannot succeed due to a conflicting operation.</Message></Error>"
)


class ConflictingS3(ThreadingHTTPServer):
    """Passes everything on; of keys that end so, the next `conflicts` conditional writes are answered 409."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _PassOn)
        self.behind = urlsplit(endpoint).netloc
        self.ending, self.conflicts, self.answered = "", 0, 0
        self.write: Literal["refused", "done"] = "refused"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def conflict_at(self, ending: str, conflicts: int = 1, write: Literal["refused", "done"] = "refused") -> None:
        self.ending, self.conflicts, self.write = ending, conflicts, write


class _PassOn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ConflictingS3

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        conditional = "If-None-Match" in self.headers or "If-Match" in self.headers
        meant = conditional and self.path.endswith(self.server.ending) and self.server.conflicts > 0
        if not meant:
            self._answer(*self._ask(body))
            return
        self.server.conflicts -= 1
        self.server.answered += 1
        if self.server.write == "done":
            self._ask(body)
        self._answer(409, {"Content-Type": "application/xml"}, CONFLICT)

    def do_GET(self) -> None:
        self._answer(*self._ask(b""))

    def do_POST(self) -> None:
        self._answer(*self._ask(self.rfile.read(int(self.headers.get("Content-Length", 0)))))

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """With the caller's own headers, Host included: they are signed."""
        connection = HTTPConnection(self.server.behind, timeout=10)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        pass


@pytest.fixture
def s3(aws_access: AwsAccess) -> Iterator[ConflictingS3]:
    assert aws_access.endpoint_url is not None
    with ConflictingS3(aws_access.endpoint_url) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


@pytest.fixture
def store(s3: ConflictingS3, aws_access: AwsAccess, bucket: str) -> S3ObjectStore:
    return S3ObjectStore(s3_client(changed(aws_access, endpoint_url=s3.url)), bucket)


@pytest.mark.parametrize("write", ["refused", "done"])
@pytest.mark.parametrize(
    "ending", ["current.json", "000000002.json", "versions/000002", "manifest.json", "model.onnx"], ids=str
)
def test_a_409_at_any_conditional_write_spoils_no_night(
    s3: ConflictingS3, store: S3ObjectStore, ending: str, write: Literal["refused", "done"]
) -> None:
    published(store, "a")
    s3.conflict_at(ending, write=write)
    moved = published(store, "b")
    assert s3.answered == 1
    held = read_pointer(store)
    assert held is not None
    assert held.pointer == moved
    load_release(store, "b", TRUSTED, version=moved.version)
    assert [line.number for line in read_lines(store, 10)] == [2, 1]


def test_the_first_pointer_of_all_survives_a_409_too(s3: ConflictingS3, store: S3ObjectStore) -> None:
    s3.conflict_at("current.json")
    assert published(store, "a").number == 1
    assert s3.answered == 1


def test_409_without_end_is_one_clear_error_and_the_old_release_stays(s3: ConflictingS3, store: S3ObjectStore) -> None:
    published(store, "a")
    s3.conflict_at(POINTER_KEY, conflicts=100)
    with pytest.raises(StoreUnavailable, match=f"S3 answered {MOVE_ATTEMPTS} times"):
        published(store, "b")
    held = read_pointer(store)
    assert held is not None
    assert held.pointer.release == "a"
