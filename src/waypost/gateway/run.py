"""The gateway process, as a recipe: bind, connect, serve, stop.

It starts and answers without S3 and without SQS: the first is looked for again and again, the second only makes answers
degraded.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import uvloop

from waypost.announcing import announced
from waypost.clock import SystemClock
from waypost.errors import SettingsError
from waypost.faults import Fault, parse_fault
from waypost.gateway.app import create_app
from waypost.gateway.body_limit import BodyLimit
from waypost.gateway.enqueue import Enqueuer
from waypost.gateway.follower import PopularFollower
from waypost.gateway.keys import ApiKeys
from waypost.gateway.metrics_app import MetricsApp
from waypost.gateway.pending import Pending
from waypost.gateway.ports import bind, bind_preferred, is_loopback, port_of, url_of
from waypost.gateway.recommend import Recommender
from waypost.gateway.reply_door import ReplyDoor
from waypost.gateway.servers import Servers
from waypost.metrics import GatewayMetrics
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.queueing.protocols import RequestQueue
from waypost.queueing.replies import MAX_REPLY_BODY_BYTES
from waypost.queueing.signing import Keyring, load_keyring
from waypost.queueing.sqs import SqsQueue
from waypost.release.signing import TrustedKeys, trusted_keys
from waypost.settings import GatewaySettings, Parts, SharedSettings

KEYS_SECONDS = 1.0  # how soon a changed API keys file counts
POINTER_READ_SECONDS = 5.0  # S3 answers in milliseconds, popular.json in tens of them
LOCAL_LABEL = "gateway"  # this gateway's name where the reply domain is this machine
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outside:
    """What the gateway talks to; tests put the in-memory twins here."""

    queue: RequestQueue
    store: ObjectStore
    keyring: Keyring
    trusted: TrustedKeys


@dataclass(frozen=True)
class Sockets:
    public: socket.socket
    replies: socket.socket
    metrics: socket.socket


def run(settings: GatewaySettings, shared: SharedSettings, parts: Parts) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises SettingsError before anything is served."""
    keys = ApiKeys(settings.api_keys_file)
    require_loopback(settings, keys)
    outside = connect(parts)
    sockets = bind_all(settings)
    found_at = shared.local_dir / "run" / "gateway.json" if parts.embedded else None
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_until_signal(settings, outside, sockets, keys, parse_fault(shared.faults), found_at))
    return 0


def require_loopback(settings: GatewaySettings, keys: ApiKeys) -> None:
    """Without API keys nobody but this machine may ask."""
    if not keys.asked_for and not is_loopback(settings.host):
        raise SettingsError(
            f"WAYPOST_GATEWAY_HOST={settings.host} would let everybody ask",
            "set WAYPOST_GATEWAY_API_KEYS_FILE, or bind to 127.0.0.1",
        )


def connect(parts: Parts) -> Outside:
    if parts.message_keys_file is None:
        raise SettingsError("WAYPOST_MESSAGE_KEYS_FILE is not set", "set it to the file of message keys")
    return Outside(
        queue=SqsQueue(parts.sqs, parts.request_queue_url),
        store=S3ObjectStore(s3_client(parts.s3, read_timeout_seconds=POINTER_READ_SECONDS), parts.bucket),
        keyring=load_keyring(parts.message_keys_file),
        trusted=trusted_keys(parts),
    )


def bind_all(settings: GatewaySettings) -> Sockets:
    return Sockets(
        public=bind_preferred(settings.host, settings.port, "WAYPOST_GATEWAY_PORT"),
        replies=bind(settings.reply_host, settings.reply_port, "WAYPOST_GATEWAY_REPLY_PORT"),
        metrics=bind(settings.host, settings.metrics_port, "WAYPOST_GATEWAY_METRICS_PORT"),
    )


async def _serve_until_signal(
    settings: GatewaySettings, outside: Outside, sockets: Sockets, keys: ApiKeys, fault: Fault, found_at: Path | None
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    url, metrics_url = url_of(sockets.public), f"{url_of(sockets.metrics)}/metrics"
    with announced(found_at, url, metrics_url):
        await serve(settings, outside, sockets, keys, fault, stop)


async def serve(
    settings: GatewaySettings, outside: Outside, sockets: Sockets, keys: ApiKeys, fault: Fault, stop: asyncio.Event
) -> None:
    """Answer until `stop` is set; then not ready, what is in flight finished, and down."""
    clock, metrics, pending, servers = SystemClock(), GatewayMetrics(), Pending(), Servers()
    enqueuer = Enqueuer(outside.queue, outside.keyring, pending, clock)
    follower = PopularFollower(outside.store, outside.trusted, metrics)
    reply_to = f"{settings.reply_address or LOCAL_LABEL}:{port_of(sockets.replies)}"
    recommender = Recommender(enqueuer, pending, follower, metrics, clock, reply_to, settings.concurrency, fault)

    chores = [
        asyncio.create_task(follower.follow(settings.pointer_seconds)),
        asyncio.create_task(_reload_keys(keys)),
    ]
    await servers.start(create_app(recommender, keys, metrics), sockets.public)
    await servers.start(BodyLimit(ReplyDoor(pending, outside.keyring, metrics), MAX_REPLY_BODY_BYTES), sockets.replies)
    await servers.start(MetricsApp(metrics.registry), sockets.metrics)
    logger.info("gateway serves", extra={"url": url_of(sockets.public), "metrics_url": url_of(sockets.metrics)})

    await stop.wait()
    logger.info("gateway stops", extra={"in_flight": len(pending)})
    recommender.stopping = True
    await servers.stop()
    await enqueuer.close()
    for chore in chores:
        chore.cancel()
    await asyncio.gather(*chores, return_exceptions=True)


async def _reload_keys(keys: ApiKeys) -> None:
    while True:
        await asyncio.sleep(KEYS_SECONDS)
        await asyncio.to_thread(keys.reload)


def _loop_factory() -> type[asyncio.AbstractEventLoop]:
    return uvloop.Loop
