"""The worker process, as a recipe: connect, follow the release pointer, answer what the queue brings, stop.

One thread follows the release pointer, one asks Triton a golden question every second, and those of the request loop
take no message unless the last golden answer was right a moment ago.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from waypost.announcing import announced
from waypost.clock import SystemClock
from waypost.errors import SettingsError
from waypost.faults import parse_fault
from waypost.kubernetes.telling import LOOK_SECONDS as TELL_SECONDS
from waypost.logs import serving, tell_release
from waypost.logs.requests import RequestLog, open_request_log
from waypost.memory import spare_what_stays
from waypost.metrics import WorkerMetrics
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.queueing.replies import HttpReplySender, ReplyResolver
from waypost.queueing.reply_queue import QueueReplySender
from waypost.queueing.signing import Keyring, load_keyring
from waypost.queueing.sqs import SqsQueue
from waypost.release.signing import TrustedKeys, trusted_keys
from waypost.release.triton import TritonModel
from waypost.settings import Parts, SharedSettings, WorkerSettings
from waypost.worker.canary import CanaryLimits
from waypost.worker.cluster import teller_of
from waypost.worker.follow import FollowerLimits, ReleaseFollower
from waypost.worker.health import HealthServer
from waypost.worker.loop import LoopLimits, WorkerLoop
from waypost.worker.pod import ModelFolder, TritonPod
from waypost.worker.restarter import KeeperFolder
from waypost.worker.sources import ReleaseSources

logger = logging.getLogger(__name__)
S3_SECONDS, S3_ATTEMPTS = 5.0, 2  # a store that hangs must not hold up a start from this pod's disk
PROBE_SECONDS = 1.0  # a golden question costs a millisecond; a dead Triton is noticed this soon


@dataclass(frozen=True)
class Outside:
    """What the worker talks to."""

    store: S3ObjectStore
    queue: SqsQueue
    dead_letters: SqsQueue | None
    keyring: Keyring
    replies: HttpReplySender | QueueReplySender
    triton: TritonModel
    pod: TritonPod
    trusted: TrustedKeys


def run(settings: WorkerSettings, shared: SharedSettings, parts: Parts) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises SettingsError before anything is served."""
    outside = connect(settings, parts)
    with serving("worker") as writer:
        log = open_request_log(writer, outside.keyring.derive, settings.log_sample, settings.log_quiet_seconds)
        return serve(settings, shared, parts, outside, log)


def serve(settings: WorkerSettings, shared: SharedSettings, parts: Parts, outside: Outside, log: RequestLog) -> int:
    """Until SIGTERM or SIGINT; the exit code."""
    metrics, stop = WorkerMetrics(observed=settings.metrics == "on"), threading.Event()
    follower = ReleaseFollower(
        ReleaseSources(outside.store, outside.trusted, settings.kept_release or shared.local_dir / "kept-release"),
        outside.pod,
        SystemClock(),
        metrics,
        follower_limits(settings),
        socket.gethostname(),
    )
    loop = WorkerLoop(
        outside.queue,
        outside.keyring,
        follower,
        outside.replies,
        metrics,
        ready=follower.ready,
        limits=loop_limits(settings),
        dead_letters=outside.dead_letters,
        fault=parse_fault(shared.faults),
        log=log,
    )
    tell_release(lambda: follower.model_version)
    health = HealthServer(
        settings.metrics_host,
        settings.metrics_port,
        metrics.registry,
        alive=lambda: loop.alive and looking.is_alive() and probing.is_alive(),
        ready=lambda: follower.ready() and not stop.is_set(),
    )
    metrics.ready.set_function(lambda: float(follower.ready() and not stop.is_set()))
    looking = _repeat("follower", follower.look, settings.pointer_seconds, stop)
    probing = _repeat("probe", follower.probe, PROBE_SECONDS, stop)
    _stop_on_signals(loop, stop)
    announcement = shared.local_dir / "run" / "worker.json" if parts.embedded else None
    spare_what_stays()
    health.start()
    looking.start()
    probing.start()
    if (teller := teller_of(follower, metrics, settings, shared)) is not None:
        _repeat("cluster", teller.look, TELL_SECONDS, stop).start()
    try:
        with announced(announcement, health.url, f"{health.url}/metrics"):
            loop.run()
    finally:
        stop.set()
        probing.join(timeout=settings.load_timeout_seconds)
        looking.join(timeout=settings.load_timeout_seconds)
        health.stop()
        outside.queue.close()
        outside.replies.close()
        outside.triton.close()
    return 0


def follower_limits(settings: WorkerSettings) -> FollowerLimits:
    canary = CanaryLimits(
        share=settings.canary_share,
        seconds=settings.canary_seconds,
        answers=settings.canary_answers,
        max_slower_seconds=settings.canary_max_slower_ms / 1_000,
        max_error_share=settings.canary_max_error_share,
        max_empty_share=settings.canary_max_empty_share,
        min_overlap=settings.canary_min_overlap,
    )
    return FollowerLimits(canary, settings.hold_seconds)


def loop_limits(settings: WorkerSettings) -> LoopLimits:
    return LoopLimits(
        batch=settings.batch,
        receivers=settings.receivers,
        answering_threads=settings.calls,
        max_requests_per_second=settings.max_requests_per_second,
        visibility_seconds=settings.visibility_seconds,
    )


def connect(settings: WorkerSettings, parts: Parts) -> Outside:
    if parts.message_keys_file is None:
        raise SettingsError("WAYPOST_MESSAGE_KEYS_FILE is not set", "set it to the file of message keys")
    keyring = load_keyring(parts.message_keys_file)
    triton = TritonModel(parts.triton_url, settings.triton_timeout_seconds, settings.load_timeout_seconds)
    folder = model_folder(settings, parts)
    dead_letter_url = settings.dead_letter_queue_url or parts.dead_letter_queue_url
    return Outside(
        store=S3ObjectStore(s3_client(parts.s3, read_timeout_seconds=S3_SECONDS, attempts=S3_ATTEMPTS), parts.bucket),
        queue=SqsQueue(parts.sqs, parts.request_queue_url),
        dead_letters=SqsQueue(parts.sqs, dead_letter_url) if dead_letter_url else None,
        keyring=keyring,
        replies=reply_sender(settings, parts, keyring),
        triton=triton,
        pod=TritonPod(triton, folder, KeeperFolder(folder.path)),
        trusted=trusted_keys(parts),
    )


def reply_sender(settings: WorkerSettings, parts: Parts, keyring: Keyring) -> HttpReplySender | QueueReplySender:
    if settings.reply_way == "queue":
        return QueueReplySender(parts.sqs, parts.request_queue_url, keyring)
    return HttpReplySender(ReplyResolver(settings.reply_domain), keyring)


def model_folder(settings: WorkerSettings, parts: Parts) -> ModelFolder:
    """Where Triton looks for models: the embedded Triton's folder, else the one that is set."""
    if settings.repository is not None:
        return ModelFolder(settings.repository, settings.triton_backend, settings.triton_device)
    if parts.triton_repository is not None:
        return ModelFolder(parts.triton_repository, "python", "cpu")
    raise SettingsError(
        "WAYPOST_WORKER_REPOSITORY is not set", "set it to the folder that the Triton of WAYPOST_TRITON_URL loads from"
    )


def _repeat(name: str, work: Callable[[], None], seconds: float, stop: threading.Event) -> threading.Thread:
    """A thread that does the work every so many seconds until `stop`, whatever it meets."""

    def run_until_stopped() -> None:
        while not stop.is_set():
            try:
                work()
            except Exception:  # one round must never be the last one
                logger.exception("a round failed", extra={"round": name})
            stop.wait(seconds)

    return threading.Thread(target=run_until_stopped, name=name, daemon=True)


def _stop_on_signals(loop: WorkerLoop, stop: threading.Event) -> None:
    def handle(number: int, frame: object) -> None:
        stop.set()
        loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
