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

from waypost.local.asking import answers_ok
from waypost.local.layout import Layout, PartName
from waypost.local.supervisor import PartSpec

_OURS = ("WAYPOST_", "AWS_")  # settings whose change asks for a restart


@dataclass(frozen=True)
class Published:
    pid: int
    url: str
    metrics_url: str

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
    """How to run `waypost gateway` or `waypost worker` on this folder, with the caller's own settings."""
    environment = {**environ, "WAYPOST_LOCAL_DIR": str(layout.root)}
    settings = sorted(f"{name}={value}" for name, value in environment.items() if name.startswith(_OURS))
    where = layout.stack_file.read_text() if layout.stack_file.exists() else ""

    def is_ready() -> bool:
        published = read_published(layout, part)
        return published is not None and published.answers("/healthz")

    return PartSpec(
        name=part,
        command=(sys.executable, "-m", "waypost.cli", part),
        environment=environment,
        working_dir=Path(os.getcwd()),  # relative paths in settings are the caller's
        is_ready=is_ready,
        identity=(*settings, where),
        before_start=lambda: layout.published(part).unlink(missing_ok=True),
    )
