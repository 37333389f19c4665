"""The gateway process, as a recipe: bind, connect, serve, drain, stop.

Told to stop it is first not ready and answers on, every answer closing its connection, so that load balancers and
callers go elsewhere; then it takes no new connections and answers what it has. It starts and answers without S3 and
without SQS: the first is looked for again and again, the second only makes answers degraded.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import uvloop

from waypost.announcing import announced, port_left
from waypost.clock import Clock, SystemClock
from waypost.errors import SettingsError
from waypost.faults import Fault, parse_fault
from waypost.gateway.app import create_app
from waypost.gateway.body_limit import BodyLimit
from waypost.gateway.breaker import Breaker, show_breaker
from waypost.gateway.enqueue import Enqueuer
from waypost.gateway.follower import PopularFollower
from waypost.gateway.inbox import Inbox
from waypost.gateway.keys import ApiKeys
from waypost.gateway.metrics_app import MetricsApp
from waypost.gateway.page.app import StatusPage
from waypost.gateway.page.opening import open_page
from waypost.gateway.pending import Pending
from waypost.gateway.ports import bind, bind_preferred, is_loopback, port_of, url_of
from waypost.gateway.quotas import Quota, Quotas
from waypost.gateway.reception import Patience
from waypost.gateway.recommend import Recommender
from waypost.gateway.reply_door import ReplyDoor
from waypost.gateway.request_lines import GatewayLines
from waypost.gateway.reserve import Reserve
from waypost.gateway.servers import Servers
from waypost.gateway.watching import watch
from waypost.logs import serving
from waypost.logs.requests import RequestLog, open_request_log, silent
from waypost.logs.setup import tell_loop_accidents, tell_release
from waypost.memory import spare_what_stays
from waypost.metrics import GatewayMetrics
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.queueing.protocols import RequestQueue
from waypost.queueing.replies import MAX_REPLY_BODY_BYTES, ReplyReceiver
from waypost.queueing.reply_queue import QueueReplyReceiver
from waypost.queueing.signing import Keyring, load_keyring
from waypost.queueing.sqs import SqsQueue
from waypost.release.signing import TrustedKeys, trusted_keys
from waypost.settings import GatewaySettings, Parts, SharedSettings

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
KEYS_SECONDS = 1.0  # how soon a changed API keys file counts
DRAIN_SECONDS = 5.0  # Kubernetes takes a pod that is not ready out of every node's rules in a second or two
LOOPBACK_DRAIN_SECONDS = 0.5  # no load balancer there: only callers with kept connections are told
POINTER_READ_SECONDS = 5.0  # S3 answers in milliseconds, popular.json in tens of them
LOCAL_LABEL = "gateway"  # this gateway's name where the reply domain is this machine
KEPT_POPULAR = "kept-popular"
logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Outside:
    """What the gateway talks to; tests put the in-memory twins here."""

    queue: RequestQueue
    store: ObjectStore
    keyring: Keyring
    trusted: TrustedKeys
    reply_queue: ReplyReceiver | None = None  # else workers reply to this pod's own door
    keys_files: Mapping[str, Path] = field(default_factory=dict)  # whose age is watched
    log: RequestLog = field(default_factory=silent)
    neighbours: Path | None = None  # the folder where the local stack's processes say where they listen
    dead_letters: RequestQueue | None = None  # whose depth is shown


@dataclass(frozen=True)
class Sockets:
    public: socket.socket
    replies: socket.socket
    metrics: socket.socket


def run(settings: GatewaySettings, shared: SharedSettings, parts: Parts) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises SettingsError before anything is served."""
    keys = ApiKeys(settings.api_keys_file)
    require_loopback(settings, keys)
    found_at = shared.local_dir / "run" / "gateway.json" if parts.embedded else None
    outside = replace(connect(settings, parts), neighbours=found_at.parent if found_at else None)
    settings = settings.model_copy(update={"kept_popular": settings.kept_popular or shared.local_dir / KEPT_POPULAR})
    sockets = bind_all(settings, port_left(found_at))
    spare_what_stays()
    with serving("gateway") as writer, asyncio.Runner(loop_factory=loop_factory()) as runner:
        log = open_request_log(writer, outside.keyring.derive, settings.log_sample, settings.log_quiet_seconds)
        outside = replace(outside, log=log)
        runner.run(serve_until_signal(settings, outside, sockets, keys, parse_fault(shared.faults), found_at))
    return 0


def require_loopback(settings: GatewaySettings, keys: ApiKeys) -> None:
    """Without API keys nobody but this machine may ask."""
    if not keys.asked_for and not is_loopback(settings.host):
        raise SettingsError(
            f"WAYPOST_GATEWAY_HOST={settings.host} would let everybody ask",
            "set WAYPOST_GATEWAY_API_KEYS_FILE, or bind to 127.0.0.1",
        )


def connect(settings: GatewaySettings, parts: Parts) -> Outside:
    if parts.message_keys_file is None:
        raise SettingsError("WAYPOST_MESSAGE_KEYS_FILE is not set", "set it to the file of message keys")
    keyring, owner = load_keyring(parts.message_keys_file), settings.reply_address or LOCAL_LABEL
    dead_letter_url = settings.dead_letter_queue_url or parts.dead_letter_queue_url
    return Outside(
        queue=SqsQueue(parts.sqs, parts.request_queue_url),
        store=S3ObjectStore(s3_client(parts.s3, read_timeout_seconds=POINTER_READ_SECONDS), parts.bucket),
        keyring=keyring,
        trusted=trusted_keys(parts),
        dead_letters=SqsQueue(parts.sqs, dead_letter_url) if dead_letter_url else None,
        reply_queue=QueueReplyReceiver(parts.sqs, parts.request_queue_url, owner, keyring, SystemClock())
        if settings.reply_way == "queue"
        else None,
        keys_files=keys_files(settings, parts.message_keys_file),
    )


def keys_files(settings: GatewaySettings, message_keys: Path) -> dict[str, Path]:
    return {"message": message_keys, **({"api": settings.api_keys_file} if settings.api_keys_file else {})}


def bind_all(settings: GatewaySettings, last_port: int | None = None) -> Sockets:
    return Sockets(
        public=bind_preferred(settings.host, settings.port, "WAYPOST_GATEWAY_PORT", last_port),
        replies=bind(settings.reply_host, settings.reply_port, "WAYPOST_GATEWAY_REPLY_PORT"),
        metrics=bind(settings.host, settings.metrics_port, "WAYPOST_GATEWAY_METRICS_PORT"),
    )


async def serve_until_signal(
    settings: GatewaySettings, outside: Outside, sockets: Sockets, keys: ApiKeys, fault: Fault, found_at: Path | None
) -> None:
    """`found_at`: the file that says where it listens, as long as it does."""
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    url, metrics_url = url_of(sockets.public), f"{url_of(sockets.metrics)}/metrics"
    with announced(found_at, url, metrics_url):
        await serve(settings, outside, sockets, keys, fault, stop)
    for number in STOP_SIGNALS:  # a second one finds nothing left to stop
        signal.signal(number, signal.SIG_IGN)


async def serve(
    settings: GatewaySettings, outside: Outside, sockets: Sockets, keys: ApiKeys, fault: Fault, stop: asyncio.Event
) -> None:
    """Answer until `stop` is set; then not ready, what is in flight finished, and down."""
    works, lines = assemble(settings, outside, sockets, fault), GatewayLines(outside.log)
    tell_release(lambda: works.follower.model_version)
    tell_loop_accidents(asyncio.get_running_loop())
    quotas = Quotas(default_quota(settings), works.clock.monotonic)
    works.metrics.ready.set_function(lambda: float(works.recommender.ready and not stop.is_set()))
    page = page_of(settings, outside, works, keys)
    app = create_app(works.recommender, keys, works.metrics, quotas, lambda: not stop.is_set(), page, lines)
    chores = [
        asyncio.create_task(works.follower.follow(settings.pointer_seconds)),
        asyncio.create_task(works.reserve.watch()),
        asyncio.create_task(_reload_keys(keys, quotas)),
        asyncio.create_task(watch(outside.queue, outside.dead_letters, outside.keys_files, works.metrics)),
    ]
    if page is not None:
        chores.append(asyncio.create_task(page.watch()))
    servers = Servers(settings.connections, Patience(settings.head_seconds, settings.body_seconds))
    public = await servers.start(app, sockets.public, partial(_count_cut, works.metrics, lines))
    await _open_for_replies(servers, outside, sockets, works)
    await servers.start(MetricsApp(works.metrics.registry), sockets.metrics)
    logger.info("gateway serves", extra={"url": url_of(sockets.public), "metrics_url": url_of(sockets.metrics)})

    await stop.wait()
    logger.info("gateway drains", extra={"in_flight": len(works.pending)})
    public.leave()
    await asyncio.sleep(drain_seconds(settings))
    logger.info("gateway stops", extra={"in_flight": len(works.pending)})
    await servers.stop()
    await works.enqueuer.close()
    if outside.reply_queue:
        await asyncio.to_thread(outside.reply_queue.close)
    for chore in chores:
        chore.cancel()
    await asyncio.gather(*chores, return_exceptions=True)


@dataclass(frozen=True)
class Works:
    """What answers, behind the doors."""

    clock: Clock
    metrics: GatewayMetrics
    pending: Pending
    reserve: Reserve
    enqueuer: Enqueuer
    follower: PopularFollower
    inbox: Inbox
    recommender: Recommender


def assemble(settings: GatewaySettings, outside: Outside, sockets: Sockets, fault: Fault) -> Works:
    """On a running event loop."""
    clock, metrics, pending = SystemClock(), GatewayMetrics(settings.metrics == "on"), Pending()
    breaker, reserve = Breaker(lambda state: show_breaker(metrics, state)), Reserve(clock)
    enqueuer = Enqueuer(outside.queue, outside.keyring, pending, clock, breaker, metrics)
    follower = PopularFollower(outside.store, outside.trusted, metrics, settings.kept_popular)
    door = f"{settings.reply_address or LOCAL_LABEL}:{port_of(sockets.replies)}"
    reply_to = outside.reply_queue.reply_to if outside.reply_queue else door
    recommender = Recommender(
        enqueuer, pending, follower, breaker, reserve, metrics, clock, reply_to, settings.concurrency, fault
    )
    inbox = Inbox(pending, breaker, metrics, clock)
    return Works(clock, metrics, pending, reserve, enqueuer, follower, inbox, recommender)


def page_of(settings: GatewaySettings, outside: Outside, works: Works, keys: ApiKeys) -> StatusPage | None:
    """The page for people, where it is switched on."""
    if settings.status_page == "off":
        return None
    registry, recommender = works.metrics.registry, works.recommender
    return open_page(registry, outside.store, keys, lambda: recommender.key_types, works.clock, outside.neighbours)


async def _open_for_replies(servers: Servers, outside: Outside, sockets: Sockets, works: Works) -> None:
    """The door for workers, or the queue in its place."""
    if outside.reply_queue:
        sockets.replies.close()
        outside.reply_queue.start(_on_the_loop(works.inbox.take), _on_the_loop(works.inbox.reject))
    else:
        replies = BodyLimit(ReplyDoor(works.inbox, outside.keyring), MAX_REPLY_BODY_BYTES)
        await servers.start(replies, sockets.replies)


def _count_cut(metrics: GatewayMetrics, lines: GatewayLines, status: int) -> None:
    """A connection was refused without a whole request."""
    metrics.counted(str(status))
    lines.cut(status)


def default_quota(settings: GatewaySettings) -> Quota:
    return Quota(settings.requests_per_second, settings.burst, settings.tenant_concurrency)


def drain_seconds(settings: GatewaySettings) -> float:
    """How long it answers on, not ready."""
    if settings.drain_seconds is not None:
        return settings.drain_seconds
    return LOOPBACK_DRAIN_SECONDS if is_loopback(settings.host) else DRAIN_SECONDS


def _on_the_loop(function: Callable[[T], None]) -> Callable[[T], None]:
    """The same function for other threads to call."""
    loop = asyncio.get_running_loop()

    def call(argument: T) -> None:
        loop.call_soon_threadsafe(function, argument)

    return call


async def _reload_keys(keys: ApiKeys, quotas: Quotas) -> None:
    while True:
        await asyncio.sleep(KEYS_SECONDS)
        await asyncio.to_thread(keys.reload)
        quotas.adopt(keys.quotas)


def loop_factory() -> type[asyncio.AbstractEventLoop]:
    return uvloop.Loop
