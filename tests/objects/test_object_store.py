"""One contract, two stores: S3 over HTTP and its in-memory twin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from waypost.errors import StoreUnavailable
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess


@pytest.fixture
def store(object_store: ObjectStore) -> ObjectStore:
    return object_store


class TestObjectStore:
    def test_what_was_never_written_is_none(self, store: ObjectStore) -> None:
        assert store.get("a/b") is None

    def test_what_was_written_is_read_back(self, store: ObjectStore) -> None:
        assert store.put_new("a/b", b"\x00body")
        found = store.get("a/b")
        assert found is not None
        assert found.body == b"\x00body"

    def test_a_second_writer_of_the_same_key_changes_nothing(self, store: ObjectStore) -> None:
        store.put_new("a", b"first")
        assert not store.put_new("a", b"second")
        found = store.get("a")
        assert found is not None
        assert found.body == b"first"

    def test_the_object_that_was_read_is_replaced(self, store: ObjectStore) -> None:
        store.put_new("a", b"first")
        found = store.get("a")
        assert found is not None
        assert store.put_if("a", b"second", found.etag)
        assert _body(store, "a") == b"second"

    def test_an_object_that_changed_since_is_not_replaced(self, store: ObjectStore) -> None:
        store.put_new("a", b"first")
        found = store.get("a")
        assert found is not None
        store.put_if("a", b"second", found.etag)
        assert not store.put_if("a", b"third", found.etag)
        assert _body(store, "a") == b"second"

    def test_replacing_what_is_not_there_fails(self, store: ObjectStore) -> None:
        assert not store.put_if("a", b"body", '"0123"')

    def test_of_many_writers_at_once_exactly_one_wins(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda i: store.put_new("race", str(i).encode()), range(8)))
        assert sum(won) == 1
        assert _body(store, "race") == str(won.index(True)).encode()

    def test_a_listing_holds_the_prefix_by_ascending_key(self, store: ObjectStore) -> None:
        for key in ("x/2", "x/10", "y/1", "x/1"):
            store.put_new(key, key.encode())
        assert [(info.key, info.size) for info in store.list("x/")] == [("x/1", 3), ("x/10", 4), ("x/2", 3)]

    def test_deleting_is_quiet_about_what_is_not_there(self, store: ObjectStore) -> None:
        store.put_new("a", b"1")
        store.delete(["a", "never"])
        assert store.get("a") is None


def test_an_s3_that_is_not_there_is_one_clear_error() -> None:
    nowhere = AwsAccess("http://127.0.0.1:9", "us-east-1", "key", "secret")
    with pytest.raises(StoreUnavailable, match="cannot be reached to read nothing/a"):
        S3ObjectStore(s3_client(nowhere), "nothing").get("a")


def test_a_bucket_that_is_not_there_is_one_clear_error(aws_access: AwsAccess) -> None:
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        S3ObjectStore(s3_client(aws_access), "no-such-bucket-anywhere").put_new("a", b"")


class Refusing(BaseHTTPRequestHandler):
    """An S3, or a proxy before it, that says no without a word; or deletes nothing and says so in a 200."""

    status = 404
    said = b""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.said)))
        self.end_headers()
        self.wfile.write(self.said)

    do_GET = do_PUT = do_POST = answer  # noqa: N815  http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class has it
        pass


StartRefusing = Callable[[int, bytes], ObjectStore]


@pytest.fixture
def refusing() -> Iterator[StartRefusing]:
    """A store whose every call gets that answer."""
    with ExitStack() as running:

        def start(status: int, said: bytes) -> ObjectStore:
            kind = type("Answer", (Refusing,), {"status": status, "said": said})
            server = running.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), kind))
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            running.callback(server.shutdown)
            access = AwsAccess(f"http://127.0.0.1:{server.server_port}", "us-east-1", "key", "secret")
            return S3ObjectStore(s3_client(access, attempts=1), "gone")

        yield start


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "list": lambda store: store.list("releases/"),
    "delete": lambda store: store.delete(["a"]),
    "put_new": lambda store: store.put_new("a", b""),
    "put_if": lambda store: store.put_if("a", b"", '"etag"'),
    "get": lambda store: store.get("a"),
}


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 500, 503])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_bare_refusal_leaves_the_tree_of_errors(
    refusing: StartRefusing, call: Callable[[ObjectStore], object], status: int
) -> None:
    with suppress(StoreUnavailable):
        assert call(refusing(status, b"")) in (None, False)


@pytest.mark.parametrize("name", ["list", "delete", "put_new"])
def test_a_bucket_that_is_not_there_is_one_clear_error_where_nothing_says_so(
    refusing: StartRefusing, name: str
) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"gone/.*: 404, as for a bucket that is not there; check WAYPOST_BUCKET"
    ):
        CALLS[name](refusing(404, b""))


def test_a_key_that_s3_would_not_delete_is_no_success(refusing: StartRefusing) -> None:
    denied = b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    with pytest.raises(StoreUnavailable, match="refused to delete gone/a: AccessDenied"):
        refusing(200, denied).delete(["a"])


def _body(store: ObjectStore, key: str) -> bytes | None:
    found = store.get(key)
    return found.body if found else None
