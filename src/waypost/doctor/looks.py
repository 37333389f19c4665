"""All looks, in the order of causes; a look whose package is not installed here is skipped by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from waypost.clock import Clock
from waypost.doctor.clocks import Clocks
from waypost.doctor.findings import Finding, bad, skipped, worst_first
from waypost.doctor.handed import Handed
from waypost.doctor.looking import Look, Part, examine
from waypost.doctor.processes import process_look
from waypost.doctor.scaling import Open, scaling_look
from waypost.doctor.settings import Read, key_looks, settings_look
from waypost.settings import GatewaySettings, Parts, Settings, SharedSettings, WorkerSettings

UNINSTALLED_SECONDS = 1.0


@dataclass(frozen=True)
class Process:
    """A gateway or worker of this machine."""

    url: str | None = None  # of /readyz; None: nobody knows
    metrics_url: str | None = None
    died: bool = False  # it ended without being stopped


@dataclass(frozen=True)
class Subject:
    """What is looked at: where the parts are, and how to ask what only the door knows to ask."""

    environ: Mapping[str, str]
    kinds: tuple[type[Settings], ...]  # the settings of every process
    shared: SharedSettings
    gateway: GatewaySettings
    worker: WorkerSettings
    parts: Parts  # one that is not known is empty
    load_api_keys: Read
    open_cluster: Open
    clock: Clock
    processes: Mapping[str, Process] = field(default_factory=dict)


def look_at(subject: Subject) -> list[Finding]:
    """Everything, side by side, worst first; in less than ten seconds."""
    clocks = Clocks(subject.clock)
    found = examine(all_looks(subject, clocks))
    return worst_first([*found, clocks.finding()])


def all_looks(subject: Subject, clocks: Clocks) -> list[Look]:
    return [
        settings_look(subject.kinds, subject.environ, subject.shared),
        *key_looks(subject.parts, subject.gateway.api_keys_file, subject.load_api_keys),
        *_parts_looks(subject, clocks),
        *(_process(name, subject.processes.get(name, Process())) for name in ("worker", "gateway")),
        scaling_look(subject.open_cluster, subject.worker.scaled_object),
    ]


def _parts_looks(subject: Subject, clocks: Clocks) -> list[Look]:
    parts, handed = subject.parts, Handed()
    if not parts.bucket:
        handed.hand(None)

    def database() -> Look:
        from waypost.doctor.database import database_look  # noqa: PLC0415

        return database_look(parts.postgres_dsn, subject.shared.mapping_file, clocks)

    def releases() -> Look:
        from waypost.doctor.releases import releases_look  # noqa: PLC0415

        return releases_look(parts, handed, clocks)

    def queues() -> Look:
        from waypost.doctor.queues import queues_look  # noqa: PLC0415

        dead_letters = subject.worker.dead_letter_queue_url or parts.dead_letter_queue_url or None
        return queues_look(parts, dead_letters, subject.worker.visibility_seconds, clocks)

    def model() -> Look:
        from waypost.doctor.models import model_look  # noqa: PLC0415

        return model_look(parts.triton_url, handed)

    return [
        _look("database", "WAYPOST_POSTGRES_DSN", parts.postgres_dsn, database),
        _look("bucket", "WAYPOST_BUCKET", parts.bucket, releases),
        _look("queue", "WAYPOST_REQUEST_QUEUE_URL", parts.request_queue_url, queues),
        _look("triton", "WAYPOST_TRITON_URL", parts.triton_url, model),
    ]


def _look(name: str, switch: str, where: str, make: Callable[[], Look]) -> Look:
    """Drivers are imported here, before any thread: two threads in one import may wait for each other."""
    if not where:
        return _skip(name, f"{switch} is not set and no embedded one is up", f"set {switch}, or run `waypost local up`")
    try:
        return make()
    except ModuleNotFoundError as error:
        return _skip(name, f"the package {error.name} is not installed here", "pip install 'waypost[local]'")


def _skip(name: str, because: str, fix: str) -> Look:
    return _said(skipped(name, because, fix))


def _process(name: str, process: Process) -> Look:
    if process.died:
        return _said(bad(name, "has died", "see its log in $WAYPOST_LOCAL_DIR/logs; start it with `waypost local up`"))
    return process_look(name, process.url, process.metrics_url)


def _said(finding: Finding) -> Look:
    def find() -> Iterator[Finding]:
        yield finding

    return Look((Part(finding.part, UNINSTALLED_SECONDS),), find)
