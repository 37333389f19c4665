"""Tells the truth about a stack's parts: who runs, where, and whether it answers when asked now.

up: it answers as it should. waiting: a gateway or worker that is alive and has no release to serve yet. starting, then
unhealthy: it runs and does not answer. down: it does not run.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from waypost.local import postgres
from waypost.local.asking import answers_ok
from waypost.local.layout import ALL_PARTS, Layout, PartName
from waypost.local.serving import read_published
from waypost.local.stack import read_stack
from waypost.local.supervisor import Supervisor
from waypost.local.triton import read_server_pid
from waypost.settings import EmbeddedStack

STARTING_SECONDS = 30.0  # silence is a start until then


@dataclass(frozen=True)
class _Answer:
    url: str | None
    metrics_url: str | None
    state: str  # up, waiting or silent


PartStatus = dict[str, str | int | None]
DOWN: PartStatus = {"pid": None, "url": None, "metrics_url": None, "state": "down"}


def read_status(local_dir: Path) -> dict[str, dict[str, PartStatus]]:
    """`{"parts": {name: {"pid", "url", "metrics_url", "state"}}}` for every part, each asked with a short timeout."""
    layout = Layout.of(local_dir)
    stack = read_stack(local_dir)
    with ThreadPoolExecutor(max_workers=len(ALL_PARTS)) as pool:
        states = list(pool.map(lambda part: _read_part(layout, stack, part), ALL_PARTS))
    return {"parts": dict(zip(ALL_PARTS, states, strict=True))}


def _read_part(layout: Layout, stack: EmbeddedStack | None, part: PartName) -> PartStatus:
    leader = Supervisor(layout).read_leader(part)
    if leader is None:
        return dict(DOWN)
    ask = {"postgres": _ask_postgres, "aws": _ask_aws, "triton": _ask_triton}.get(part)
    if ask is None:
        answer = _ask_serving(layout, part)
    else:
        answer = ask(stack) if stack is not None else _Answer(None, None, "silent")
    state = answer.state if answer.state != "silent" else _silent_state(layout, part)
    pid = read_server_pid(layout) if part == "triton" else leader.process.pid  # its leader is the keeper
    return {"pid": pid, "url": answer.url, "metrics_url": answer.metrics_url, "state": state}


def _silent_state(layout: Layout, part: PartName) -> str:
    try:
        age_seconds = time.time() - layout.pid_file(part).stat().st_mtime
    except OSError:  # stopped this moment
        return "down"
    return "starting" if age_seconds < STARTING_SECONDS else "unhealthy"


def _ask_postgres(stack: EmbeddedStack) -> _Answer:
    address = urlsplit(stack.postgres_dsn)
    url = f"postgresql://{address.hostname}:{address.port}{address.path}"  # without the password
    return _Answer(url, None, "up" if postgres.answers(stack.postgres_dsn) else "silent")


def _ask_aws(stack: EmbeddedStack) -> _Answer:
    url = stack.aws_endpoint_url
    return _Answer(url, None, "up" if answers_ok(f"{url}/_ministack/ready") else "silent")


def _ask_triton(stack: EmbeddedStack) -> _Answer:
    url = stack.triton_http_url
    return _Answer(url, stack.triton_metrics_url, "up" if answers_ok(f"{url}/v2/health/live") else "silent")


def _ask_serving(layout: Layout, part: PartName) -> _Answer:
    published = read_published(layout, part)
    if published is None:
        return _Answer(None, None, "silent")
    alive, ready = published.answers("/healthz"), published.answers("/readyz")
    return _Answer(
        published.url or None, published.metrics_url or None, "up" if ready else "waiting" if alive else "silent"
    )
