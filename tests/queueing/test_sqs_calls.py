"""The lean way to SQS: signed like botocore's, whatever the answer's shape, and with the credentials of the moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import QueueUnavailable
from waypost.queueing.connections import Connections, NotHttp
from waypost.queueing.sigv4 import CONTENT_TYPE, JsonSigner
from waypost.queueing.sqs_calls import SqsCalls
from waypost.settings import AwsAccess

AT = 1_790_000_000.0


class TestSignature:
    @given(
        body=st.binary(max_size=100),
        secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
        token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
        host=st.sampled_from(
            ["sqs.eu-west-1.amazonaws.com", "127.0.0.1:4566", "vpce-1.sqs.us-east-1.vpce.amazonaws.com"]
        ),
    )
    def test_it_is_botocores(self, body: bytes, secret: str, token: str | None, host: str) -> None:
        credentials = Credentials("AKIDEXAMPLE", secret, token)
        signer = JsonSigner("sqs", "eu-west-1", host)
        for _ in range(2):  # with the day's key made, and kept
            head = signer.head("AmazonSQS.SendMessageBatch", body, credentials, AT).decode()
            assert headers_of(head)["authorization"] == botocores(host, body, credentials)


def headers_of(head: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)


def botocores(host: str, body: bytes, credentials: Credentials) -> str:
    headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": "AmazonSQS.SendMessageBatch"}
    request = AWSRequest("POST", f"https://{host}/", data=body, headers=headers)
    with mock.patch("botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(AT, UTC)):
        SigV4Auth(credentials, "sqs", "eu-west-1").add_auth(request)
    return str(request.headers["Authorization"])


@contextmanager
def a_server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Serves each connection by the function, one after the other."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        closed = threading.Event()

        def run() -> None:
            while not closed.is_set():
                connection, _ = listening.accept()
                with connection:
                    if not closed.is_set():
                        serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        host, port = listening.getsockname()
        try:
            yield host, port
        finally:
            closed.set()
            socket.create_connection((host, port)).close()
            thread.join()


def answering(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Answers every request of a connection with these pieces."""

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while connection.recv(65_536):
            for piece in pieces:
                connection.sendall(piece)

    return serve


HEAD = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class TestConnections:
    @pytest.mark.parametrize(
        "pieces",
        [
            [OK],
            [OK[i : i + 1] for i in range(len(OK))],
            [OK[:-2], OK[-2:]],
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: 1\r\n\r\n"],
            [b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-LENGTH:2\r\n\r\n{}"],
        ],
        ids=["whole", "byte by byte", "head first", "chunked", "closing"],
    )
    def test_an_answer_is_read_however_it_comes(self, pieces: list[bytes]) -> None:
        with a_server(answering(*pieces)) as server, closing(Connections(*server)) as connections:
            for _ in range(3):
                response = connections.post(HEAD, b"{}", 5)
                assert (response.status, response.body) == (200, b"{}")

    @pytest.mark.parametrize(
        "answer",
        [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"x" * 70_000],
    )  # fmt: skip
    def test_what_is_no_http_is_refused(self, answer: bytes) -> None:
        with (
            a_server(answering(answer)) as server,
            closing(Connections(*server)) as connections,
            pytest.raises(NotHttp),
        ):
            connections.post(HEAD, b"{}", 5)

    def test_an_answer_that_never_ends_takes_its_time_and_no_more(self) -> None:
        def drips(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            with suppress(OSError):  # the caller has given up
                while True:
                    connection.sendall(b"x")
                    stop.wait(0.01)

        stop = threading.Event()
        with a_server(drips) as server, closing(Connections(*server)) as connections, pytest.raises(TimeoutError):
            connections.post(HEAD, b"{}", 0.2)

    def test_a_connection_that_the_server_has_closed_is_not_used_again(self) -> None:
        def once(connection: socket.socket) -> None:
            connection.recv(65_536)
            connection.sendall(OK)

        with a_server(once) as server, closing(Connections(*server)) as connections:
            for _ in range(5):
                assert connections.post(HEAD, b"{}", 5).status == 200
                threading.Event().wait(0.02)  # the close is on its way

    def test_a_server_that_is_gone_is_an_os_error(self) -> None:
        with closing(Connections("127.0.0.1", 1)) as connections, pytest.raises(OSError, match="refused"):
            connections.post(HEAD, b"{}", 5)


class TestCalls:
    def test_what_answers_without_being_sqs_is_unavailable(self) -> None:
        with a_server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\noops")) as (host, port):
            calls = SqsCalls(AwsAccess(f"http://{host}:{port}", "eu-west-1", "id", "secret"))
            with closing(calls), pytest.raises(QueueUnavailable, match="not SQS"):
                calls.call("ReceiveMessage", {})

    def test_an_error_names_its_code_and_else_its_status(self) -> None:
        body = orjson.dumps({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"})
        told = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for answer, said in (
            (told, "QueueDoesNotExist"),
            (b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "HTTP 502"),
        ):
            with a_server(answering(answer)) as (host, port):
                calls = SqsCalls(AwsAccess(f"http://{host}:{port}", "eu-west-1", "id", "secret"))
                with closing(calls), pytest.raises(QueueUnavailable, match=said):
                    calls.call("SendMessageBatch", {})

    def test_credentials_that_are_rotated_are_used_at_the_next_call(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """By a credential process, one of the chain's providers whose credentials end, as a role's do."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.delenv(name, raising=False)
        script, config = tmp_path / "credentials.sh", tmp_path / "config"
        soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()  # botocore asks anew from ten minutes before
        ended = f'"SecretAccessKey": "s", "SessionToken": "t", "Expiration": "{soon}"'
        script.write_text(
            f"echo x >> {tmp_path}/calls\nn=$(wc -l < {tmp_path}/calls)\n"
            f'cat <<END\n{{"Version": 1, "AccessKeyId": "ID$n", {ended}}}\nEND\n'
        )
        config.write_text(f"[default]\ncredential_process = sh {script}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        heads: list[str] = []

        def serve(connection: socket.socket) -> None:
            while head := connection.recv(65_536):
                heads.append(head.decode())
                connection.sendall(OK)

        with (
            a_server(serve) as (host, port),
            closing(SqsCalls(AwsAccess(f"http://{host}:{port}", "eu-west-1"))) as calls,
        ):
            calls.call("ReceiveMessage", {})
            calls.call("ReceiveMessage", {})
        used = [headers_of(head.partition("\r\n\r\n")[0])["authorization"].split("=")[1][:3] for head in heads]
        assert len(set(used)) == 2
        assert all("x-amz-security-token: t" in head for head in heads)
