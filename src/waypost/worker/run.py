"""The worker process, as a recipe: connect, follow the release pointer, answer what the queue brings, stop.

Three threads matter: one follows the release pointer, one asks Triton a golden question every second, the main one
runs the request loop, which takes no message unless the last golden answer was right a moment ago.
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
from waypost.metrics import WorkerMetrics
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.queueing.replies import HttpReplySender, ReplyResolver
from waypost.queueing.signing import Keyring, load_keyring
from waypost.queueing.sqs import SqsQueue
from waypost.release.signing import TrustedKeys, trusted_keys
from waypost.release.triton import TritonModel
from waypost.settings import Parts, SharedSettings, WorkerSettings
from waypost.worker.canary import CanaryLimits
from waypost.worker.follow import FollowerLimits, ReleaseFollower
from waypost.worker.health import HealthServer
from waypost.worker.loop import WorkerLoop
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
    keyring: Keyring
    replies: HttpReplySender
    triton: TritonModel
    pod: TritonPod
    trusted: TrustedKeys


def run(settings: WorkerSettings, shared: SharedSettings, parts: Parts) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises SettingsError before anything is served."""
    outside = connect(settings, parts)
    metrics, stop = WorkerMetrics(), threading.Event()
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
        batch=settings.batch,
        receivers=settings.receivers,
        fault=parse_fault(shared.faults),
    )
    health = HealthServer(
        settings.metrics_host,
        settings.metrics_port,
        metrics.registry,
        alive=lambda: loop.alive and looking.is_alive() and probing.is_alive(),
        ready=lambda: follower.ready() and not stop.is_set(),
    )
    looking = _repeat("follower", follower.look, settings.pointer_seconds, stop)
    probing = _repeat("probe", follower.probe, PROBE_SECONDS, stop)
    _stop_on_signals(loop, stop)
    announcement = shared.local_dir / "run" / "worker.json" if parts.embedded else None
    health.start()
    looking.start()
    probing.start()
    try:
        with announced(announcement, health.url, f"{health.url}/metrics"):
            loop.run()
    finally:
        stop.set()
        probing.join(timeout=settings.load_timeout_seconds)
        looking.join(timeout=settings.load_timeout_seconds)
        health.stop()
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


def connect(settings: WorkerSettings, parts: Parts) -> Outside:
    if parts.message_keys_file is None:
        raise SettingsError("WAYPOST_MESSAGE_KEYS_FILE is not set", "set it to the file of message keys")
    keyring = load_keyring(parts.message_keys_file)
    triton = TritonModel(parts.triton_url, settings.triton_timeout_seconds, settings.load_timeout_seconds)
    folder = model_folder(settings, parts)
    return Outside(
        store=S3ObjectStore(s3_client(parts.s3, read_timeout_seconds=S3_SECONDS, attempts=S3_ATTEMPTS), parts.bucket),
        queue=SqsQueue(parts.sqs, parts.request_queue_url),
        keyring=keyring,
        replies=HttpReplySender(ReplyResolver(settings.reply_domain), keyring),
        triton=triton,
        pod=TritonPod(triton, folder, KeeperFolder(folder.path)),
        trusted=trusted_keys(parts),
    )


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
