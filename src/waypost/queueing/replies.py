"""Replies: their signed JSON, where they may go, and the ways there.

A reply address is opaque: `<label>` or `<label>:<port>`, resolved only inside the worker's own reply domain, so that
nothing on the queue can make a worker call another host. Replies to one gateway travel together. The HTTP way, the
reply queue (reply_queue.py) and the in-memory twin pass the same contract tests.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import orjson

from waypost.errors import BadSignature, GatewayUnavailable, MalformedMessage, RejectedError
from waypost.limits import MAX_ID, MAX_K, MAX_KEY_CHARACTERS, MIN_ID
from waypost.questions import Answer, AppKey, Source, is_app_key
from waypost.queueing.connections import Connections, NotHttp
from waypost.queueing.signing import Keyring, Signature

SCHEMA = 1
PATH = "/replies"
SIGNATURE_HEADER, KEY_ID_HEADER = "X-Waypost-Signature", "X-Waypost-Key-Id"
DEFAULT_REPLY_PORT = 8090  # where an address names no port
LOWEST_REPLY_PORT = 1024  # no system service is ever a gateway
LOCAL_DOMAIN = "localhost"
MAX_REPLIES = 256  # in one body; WAYPOST_WORKER_BATCH is at most that
MAX_REPLY_BODY_BYTES = 4 << 20  # 256 replies of 100 items of 40 bytes, four times over; longer text keys go in parts
CONNECT_SECONDS = 0.5  # one hop inside the cluster; a pod that is gone must not hold a worker up
READ_SECONDS = 1.0
GATEWAYS = 64  # whose connections are kept
_ADDRESS = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?::([0-9]{1,5}))?")
_SOURCES = ("graphsage", "popular")
_FIELDS = frozenset({"request_id", "user_id", "model_version", "source", "items"})


@dataclass(frozen=True)
class Reply:
    request_id: str
    user_id: AppKey
    answer: Answer


class ReplySender(Protocol):
    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        """Deliver to one gateway. Raises GatewayUnavailable when it did not take them, MalformedMessage for an address
        outside the reply domain."""


class ReplyReceiver(Protocol):
    """A gateway's end of one way; only what one of our keys signed is handed over."""

    @property
    def reply_to(self) -> str:
        """The address that workers are told."""

    def start(self, take: Callable[[list[Reply]], None], reject: Callable[[RejectedError], None]) -> None:
        """Hand over from now on, in a thread of its own."""

    def close(self) -> None:
        """Nothing is handed over any more."""


class ReplyResolver:
    """Where a reply address is, inside one domain."""

    def __init__(self, domain: str) -> None:
        self._domain = domain.rstrip(".")

    def resolve(self, reply_to: str) -> tuple[str, int]:
        """(host, port). Raises MalformedMessage for anything but `<label>` or `<label>:<port>`."""
        found = _ADDRESS.fullmatch(reply_to)
        if found is None:
            raise MalformedMessage("the reply address is not one of ours")
        label, port = found.group(1), int(found.group(2) or DEFAULT_REPLY_PORT)
        if not LOWEST_REPLY_PORT <= port <= 65_535:
            raise MalformedMessage("the reply address names a port that no gateway has")
        return ("127.0.0.1" if self._domain == LOCAL_DOMAIN else f"{label}.{self._domain}"), port


def encode_replies(replies: Sequence[Reply]) -> bytes:
    """The exact bytes that are signed and sent."""
    content = [
        {
            "request_id": reply.request_id,
            "user_id": reply.user_id,
            "model_version": reply.answer.model_version,
            "source": reply.answer.source,
            "items": reply.answer.items,
        }
        for reply in replies
    ]
    return orjson.dumps({"schema": SCHEMA, "replies": content})


def reply_bodies(replies: Sequence[Reply], most_bytes: int = MAX_REPLY_BODY_BYTES) -> Iterator[bytes]:
    """The replies as bodies that the way takes: one, unless there are too many or long text keys make it too large."""
    body = encode_replies(replies)
    if len(body) <= most_bytes or len(replies) == 1:
        yield body
        return
    half = len(replies) // 2
    yield from reply_bodies(replies[:half], most_bytes)
    yield from reply_bodies(replies[half:], most_bytes)


def decode_replies(body: bytes) -> list[Reply]:
    """Raises MalformedMessage for anything that `encode_replies` of this schema could not have written."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MalformedMessage("the reply is not JSON") from None
    if not isinstance(content, dict) or content.keys() != {"schema", "replies"}:
        raise MalformedMessage("the reply has other fields than ours")
    if type(content["schema"]) is not int or content["schema"] != SCHEMA:
        raise MalformedMessage("the reply has another schema version than ours")
    replies = content["replies"]
    if not isinstance(replies, list) or len(replies) > MAX_REPLIES:
        raise MalformedMessage("the reply holds no list of replies, or too many")
    return [_reply(fields) for fields in replies]


def _reply(fields: object) -> Reply:
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise MalformedMessage("the reply has other fields than ours")
    version, source = fields["model_version"], fields["source"]
    if not (version is None or type(version) is int) or source not in _SOURCES:
        raise MalformedMessage("the reply's model_version or source is not ours")
    if not isinstance(fields["request_id"], str) or not is_app_key(fields["user_id"]):
        raise MalformedMessage("the reply's request_id or user_id is of another type")
    return Reply(
        fields["request_id"], fields["user_id"], Answer(version, cast("Source", source), _items(fields["items"]))
    )


def _items(value: Any) -> tuple[tuple[AppKey, float], ...]:
    """Looked at all together, not one by one: most of the gateway's work on a reply was this."""
    if type(value) is not list or len(value) > MAX_K:
        raise MalformedMessage("the reply's items are no list, or too many")
    if not value:
        return ()
    if set(map(type, value)) != {list} or set(map(len, value)) != {2}:
        raise MalformedMessage("an item of the reply is not [post_id, score]")
    posts, scores = zip(*value, strict=True)
    if not _are_keys(posts):
        raise MalformedMessage("an item of the reply has no post_id")
    if not set(map(type, scores)) <= {int, float} or not all(map(math.isfinite, scores)):
        raise MalformedMessage("an item of the reply has no score")
    return tuple(zip(posts, map(float, scores), strict=True))


def _are_keys(posts: Sequence[Any]) -> bool:
    """All integers or all strings."""
    kinds = set(map(type, posts))
    if kinds == {int}:
        return bool(min(posts) >= MIN_ID and max(posts) <= MAX_ID)
    return kinds == {str} and max(map(len, posts)) <= MAX_KEY_CHARACTERS


def open_replies(body: bytes, headers: Mapping[str, str], keyring: Keyring) -> list[Reply]:
    """The replies in a body that one of our keys signed; `headers` by lower-case name.

    Raises BadSignature, MalformedMessage.
    """
    keyring.verify(body, headers.get(KEY_ID_HEADER.lower()), headers.get(SIGNATURE_HEADER.lower()))
    return decode_replies(body)


def signed_headers(signature: Signature) -> dict[str, str]:
    return {SIGNATURE_HEADER: signature.value, KEY_ID_HEADER: signature.key_id, "Content-Type": "application/json"}


class HttpReplySender:
    """POST to the gateway pod that asked, over kept connections. Nothing is sent twice: the message comes again."""

    def __init__(self, resolver: ReplyResolver, keyring: Keyring) -> None:
        self._resolver, self._keyring = resolver, keyring
        self._gateways: dict[tuple[str, int], Connections] = {}
        self._lock = threading.Lock()

    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        host, port = self._resolver.resolve(reply_to)
        for body in reply_bodies(replies):
            self._post(host, port, body)

    def close(self) -> None:
        with self._lock:
            for connections in self._gateways.values():
                connections.close()

    def _post(self, host: str, port: int, body: bytes) -> None:
        headers = {"Host": f"{host}:{port}", "Content-Length": len(body), **signed_headers(self._keyring.sign(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            answer = self._connections(host, port).post(
                f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode(), body, READ_SECONDS
            )
        except (OSError, NotHttp) as error:
            raise GatewayUnavailable(f"a gateway cannot be reached: {type(error).__name__}") from error
        if answer.status != 204:
            raise GatewayUnavailable(f"a gateway refused replies with {answer.status}")

    def _connections(self, host: str, port: int) -> Connections:
        """Those of the gateways that asked last."""
        with self._lock:
            found = self._gateways.pop((host, port), None) or Connections(host, port, connect_seconds=CONNECT_SECONDS)
            self._gateways[host, port] = found
            if len(self._gateways) > GATEWAYS:
                self._gateways.pop(next(iter(self._gateways))).close()
            return found


class MemoryReplySender:
    """The in-memory twin: hands verified replies to the function registered for their address."""

    def __init__(self, resolver: ReplyResolver, keyring: Keyring) -> None:
        self._resolver, self._keyring = resolver, keyring
        self._gateways: dict[tuple[str, int], Callable[[list[Reply]], None]] = {}

    def connect(self, reply_to: str, gateway: Callable[[list[Reply]], None]) -> None:
        self._gateways[self._resolver.resolve(reply_to)] = gateway

    def disconnect(self, reply_to: str) -> None:
        self._gateways.pop(self._resolver.resolve(reply_to), None)

    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        gateway = self._gateways.get(self._resolver.resolve(reply_to))
        if gateway is None:
            raise GatewayUnavailable("no gateway is connected at that address")
        for body in reply_bodies(replies):
            signature = self._keyring.sign(body)
            headers = {name.lower(): value for name, value in signed_headers(signature).items()}
            try:
                gateway(open_replies(body, headers, self._keyring))
            except (BadSignature, MalformedMessage) as error:
                raise GatewayUnavailable(f"the gateway refused replies: {error}") from error


class MemoryReplyReceiver:
    """The in-memory twin of a gateway's end."""

    def __init__(self, sender: MemoryReplySender, reply_to: str) -> None:
        self._sender, self._reply_to = sender, reply_to

    @property
    def reply_to(self) -> str:
        return self._reply_to

    def start(self, take: Callable[[list[Reply]], None], reject: Callable[[RejectedError], None]) -> None:
        self._sender.connect(self._reply_to, take)

    def close(self) -> None:
        self._sender.disconnect(self._reply_to)
