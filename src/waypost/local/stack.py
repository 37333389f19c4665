"""The embedded stack of one folder: brought up, taken down, described.

`up` may be called at any time: what runs as wanted stays; what is missing, half-dead or differently configured is
started again; data and ports of last time are used again. A part that its switch gives is left out. Every change is
made under the folder's lock; reading needs none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

from waypost.errors import LocalStackError
from waypost.local import aws, postgres, triton
from waypost.local.layout import EMBEDDED_PARTS, PROCESS_PARTS, Layout, PartName, save_private
from waypost.local.ports import LOOPBACK, choose_ports
from waypost.local.processes import kill_holders
from waypost.local.secrets import (
    load_or_make_aws_keys,
    load_or_make_postgres_passwords,
    make_message_keys,
    make_release_keys,
)
from waypost.local.serving import serving_spec
from waypost.local.supervisor import Supervisor, folder_lock
from waypost.settings import EmbeddedStack, LocalSettings, Part, SharedSettings, absent_parts

MIN_FREE_BYTES = 2**30  # an empty Postgres with its WAL, a graph of 2 M interactions, its tensors and two releases
T = TypeVar("T")
_PART_OF: dict[Part, PartName] = {"postgres": "postgres", "s3": "aws", "sqs": "aws", "triton": "triton"}
_PORTS_OF: dict[PartName, tuple[str, ...]] = {"postgres": ("postgres",), "aws": ("aws",), "triton": triton.PORT_NAMES}


def up(
    local_dir: Path,
    settings: LocalSettings,
    shared: SharedSettings,
    needed: Sequence[Part],
    *,
    min_free_bytes: int = MIN_FREE_BYTES,
) -> EmbeddedStack:
    """Have the embedded ones of the needed parts running and prepared; LocalStackError says what is in the way."""
    layout = Layout.of(local_dir)
    parts = embedded_parts(shared, needed)
    _create_folders(layout, min_free_bytes)
    if "triton" in parts:
        triton.find_triton(settings.triton_home)
        triton.check_shared_memory()
    with folder_lock(layout):
        supervisor = Supervisor(layout)
        with _stopped_on_failure(supervisor, parts):
            ports = _choose_ports(layout, supervisor, settings, parts)
            return _save_stack(layout, _start_all(layout, supervisor, settings, parts, ports), ports)


def up_serving(local_dir: Path, environ: Mapping[str, str], parts: Sequence[PartName] = PROCESS_PARTS) -> None:
    """Have the gateway and the worker running on this folder's stack; they may still wait for a release."""
    layout = Layout.of(local_dir)
    layout.create()
    with folder_lock(layout):
        supervisor = Supervisor(layout)
        _together([partial(supervisor.ensure, serving_spec(layout, part, environ)) for part in parts])


def down(local_dir: Path) -> None:
    """Stop every process of the folder; data, keys and ports stay."""
    layout = Layout.of(local_dir)
    if not layout.folder_lock.exists():
        return
    with folder_lock(layout):
        supervisor = Supervisor(layout)
        for parts in (PROCESS_PARTS, EMBEDDED_PARTS):  # who asks ends before who answers
            _together([partial(supervisor.stop, part) for part in parts])


def read_stack(local_dir: Path) -> EmbeddedStack | None:
    """Where the embedded parts are; None when none of them runs."""
    layout = Layout.of(local_dir)
    supervisor = Supervisor(layout)
    if not any(supervisor.read_leader(part) for part in EMBEDDED_PARTS):
        return None
    content = _read_stack_file(layout)
    return EmbeddedStack.parse(content) if content else None


def read_died(local_dir: Path) -> list[PartName]:
    """Parts that ended without being stopped; another `up` and `up_serving` start them again."""
    return Supervisor(Layout.of(local_dir)).read_died()


def read_ports(local_dir: Path) -> dict[str, int]:
    """The ports that the last `up` chose."""
    ports = _read_stack_file(Layout.of(local_dir)).get("ports")
    return {str(name): port for name, port in ports.items() if isinstance(port, int)} if isinstance(ports, dict) else {}


def embedded_parts(shared: SharedSettings, needed: Iterable[Part]) -> tuple[PartName, ...]:
    """The processes that serve the needed parts whose switch is absent."""
    absent = {_PART_OF[part] for part in absent_parts(shared, needed)}
    return tuple(part for part in EMBEDDED_PARTS if part in absent)


def _create_folders(layout: Layout, min_free_bytes: int) -> None:
    try:
        layout.create()
        free = shutil.disk_usage(layout.root).free
    except OSError as error:
        raise LocalStackError(
            f"{layout.root} cannot be written: {error.strerror}", "make it writable, or set WAYPOST_LOCAL_DIR"
        ) from None
    if free < min_free_bytes:
        raise LocalStackError(
            f"{layout.root} has {free // 2**20} MiB of disk free, {min_free_bytes // 2**20} MiB are needed",
            "free some, or set WAYPOST_LOCAL_DIR",
        )


@contextmanager
def _stopped_on_failure(supervisor: Supervisor, parts: Sequence[PartName]) -> Iterator[None]:
    """A failed start leaves running what ran before, and nothing else."""
    running = {part for part in parts if supervisor.read_leader(part) is not None}
    try:
        yield
    except BaseException:
        for part in set(parts) - running:
            supervisor.stop(part)
        raise


def _choose_ports(
    layout: Layout, supervisor: Supervisor, settings: LocalSettings, parts: Sequence[PartName]
) -> dict[str, int]:
    remembered = read_ports(layout.root)
    fixed = {name: getattr(settings, f"{name}_port") for part in parts for name in _PORTS_OF[part]}
    held: set[str] = set()
    for part in parts:
        if supervisor.read_leader(part) is not None:
            held.update(_PORTS_OF[part])
        else:
            kill_holders(layout.part_lock(part))  # a dead server's children keep its ports
    names = [name for part in parts for name in _PORTS_OF[part]]
    return {**remembered, **choose_ports(names, fixed, remembered, held)}


def _start_all(
    layout: Layout, supervisor: Supervisor, settings: LocalSettings, parts: Sequence[PartName], ports: dict[str, int]
) -> dict[str, str]:
    """Start the parts side by side; what each one adds to the stack's description."""
    starts = {
        "postgres": lambda: _start_postgres(layout, supervisor, ports),
        "aws": lambda: _start_aws(layout, supervisor, ports),
        "triton": lambda: _start_triton(layout, supervisor, ports, settings.triton_home),
    }
    described = _together([starts[part] for part in parts])
    return {name: value for description in described for name, value in description.items()}


def _start_postgres(layout: Layout, supervisor: Supervisor, ports: Mapping[str, int]) -> dict[str, str]:
    port, passwords = ports["postgres"], load_or_make_postgres_passwords(layout)
    supervisor.ensure(postgres.postgres_spec(layout, port, passwords, supervisor))
    postgres.prepare_database(port, passwords)
    return {
        "postgres_dsn": postgres.owner_dsn(port, passwords),
        "postgres_reader_dsn": postgres.reader_dsn(port, passwords),
    }


def _start_aws(layout: Layout, supervisor: Supervisor, ports: Mapping[str, int]) -> dict[str, str]:
    port, keys = ports["aws"], load_or_make_aws_keys(layout)
    supervisor.ensure(aws.aws_spec(layout, port, keys))
    return {
        "aws_endpoint_url": aws.endpoint_url(port),
        "aws_region": aws.REGION,
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key,
        "bucket": aws.BUCKET,
        "request_queue_url": aws.prepare_services(port, keys),
    }


def _start_triton(
    layout: Layout, supervisor: Supervisor, ports: Mapping[str, int], triton_home: Path | None
) -> dict[str, str]:
    supervisor.ensure(triton.triton_spec(layout, triton.find_triton(triton_home), ports))
    return {
        "triton_url": f"{LOOPBACK}:{ports['triton_grpc']}",
        "triton_http_url": triton.http_url(ports),
        "triton_metrics_url": f"http://{LOOPBACK}:{ports['triton_metrics']}/metrics",
        "triton_repository": str(layout.triton_models),
    }


def _together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Do all at once; when some fail, the first error once all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as pool:
        futures = [pool.submit(task) for task in tasks]
    return [future.result() for future in futures]


def _save_stack(layout: Layout, found: Mapping[str, str], ports: Mapping[str, int]) -> EmbeddedStack:
    """Describe what was just started, beside what an earlier `up` of the same folder described."""
    earlier = _read_stack_file(layout)
    described = {field.name: str(earlier.get(field.name) or "") for field in fields(EmbeddedStack)}
    signing_key, release_keys = make_release_keys(layout)
    keys = {
        "message_keys_file": str(make_message_keys(layout)),
        "signing_key_file": str(signing_key),
        "release_keys_file": str(release_keys),
    }
    stack = EmbeddedStack.parse({**described, **found, **keys})
    content = json.dumps({**asdict(stack), "ports": dict(ports)}, indent=2) + "\n"
    if not layout.stack_file.exists() or layout.stack_file.read_text() != content:
        save_private(layout.stack_file, content)
    return stack


def _read_stack_file(layout: Layout) -> dict[str, object]:
    try:
        content = json.loads(layout.stack_file.read_text())
    except (OSError, ValueError):  # none, or not ours: nothing to remember
        return {}
    return content if isinstance(content, dict) else {}
