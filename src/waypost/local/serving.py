"""The gateway and the worker as supervised processes of the embedded stack.

Each says where it listens by writing `run/<name>.json` (pid, url, metrics_url). Alive is enough to be started: without
a release neither is ready, and both become ready by themselves once there is one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from waypost.announcing import leave_port
from waypost.local.asking import answers_ok
from waypost.local.layout import Layout, PartName
from waypost.local.supervisor import PartSpec
from waypost.settings import GatewaySettings, Settings, WorkerSettings, read_settings, read_shared

# By part: its own settings, and what it does not read of the shared ones and of stack.json, by how that begins.
_READS: dict[PartName, tuple[type[Settings], tuple[str, ...]]] = {
    "gateway": (GatewaySettings, ("postgres", "triton", "mapping", "signing")),
    "worker": (WorkerSettings, ("postgres", "mapping", "signing")),
}
STATUS_PAGE = "WAYPOST_GATEWAY_STATUS_PAGE"  # on here unless the caller says otherwise


@dataclass(frozen=True)
class Published:
    pid: int
    url: str
    metrics_url: str

    @property
    def port(self) -> int | None:
        try:
            return urlsplit(self.url).port
        except ValueError:
            return None

    def answers(self, path: str) -> bool:
        return answers_ok((self.url or self.metrics_url.removesuffix("/metrics")) + path)


def read_published(layout: Layout, part: PartName) -> Published | None:
    """Where a gateway or worker says it listens; None before it said so."""
    try:
        said = json.loads(layout.published(part).read_text())
        return Published(int(said["pid"]), str(said.get("url") or ""), str(said.get("metrics_url") or ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def serving_spec(layout: Layout, part: PartName, environ: Mapping[str, str]) -> PartSpec:
    """How to run `waypost gateway` or `waypost worker` on this folder, with the caller's own settings.

    A change of what the part itself reads restarts it; on the port that it had, unless another is set. Raises
    SettingsError for settings that it would refuse.
    """
    environment = {STATUS_PAGE: "on", **environ, "WAYPOST_LOCAL_DIR": str(layout.root)}
    before = read_published(layout, part)

    def is_ready() -> bool:
        published = read_published(layout, part)
        return published is not None and published.answers("/healthz")

    def leave_traces() -> None:
        layout.published(part).unlink(missing_ok=True)
        if part == "gateway":  # the one that callers look for
            leave_port(layout.published(part), before.port if before else None)

    return PartSpec(
        name=part,
        command=(sys.executable, "-m", "waypost.cli", part),
        environment=environment,
        working_dir=Path(os.getcwd()),  # relative paths in settings are the caller's
        is_ready=is_ready,
        identity=(*_settings_read(part, environment), *_stack_read(part, layout)),
        before_start=leave_traces,
    )


def _settings_read(part: PartName, environment: Mapping[str, str]) -> list[str]:
    """What the part reads of its environment, defaults included: a default that is spelled out is no change."""
    own, unread = _READS[part]
    settings = [*read_shared(environment), *read_settings(own, environment)]
    aws = sorted(f"{name}={value}" for name, value in environment.items() if name.startswith("AWS_"))
    return [f"{name}={value}" for name, value in settings if not name.startswith(unread)] + aws


def _stack_read(part: PartName, layout: Layout) -> list[str]:
    """Where the parts are that it talks to."""
    try:
        stack = json.loads(layout.stack_file.read_text())
    except (OSError, ValueError):
        return []
    return sorted(
        f"{name}={value}" for name, value in stack.items() if not name.startswith(("ports", *_READS[part][1]))
    )
