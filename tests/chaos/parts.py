"""Parts: the servers that gateways and workers lean on, each in a folder of its own, so that each can die alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.triton_processes import server_of
from waypost.local import stack
from waypost.local.layout import Layout, PartName
from waypost.local.supervisor import Supervisor
from waypost.settings import EmbeddedStack, LocalSettings, Part, read_settings, read_shared

LEADER: dict[Part, PartName] = {"postgres": "postgres", "s3": "aws", "sqs": "aws", "triton": "triton"}


@dataclass
class ServerPart:
    """One server: `sqs`, `s3`, `postgres`, `triton-1`, …"""

    name: str
    kind: Part
    folder: Path
    found: EmbeddedStack | None = field(default=None, init=False)

    @property
    def at(self) -> EmbeddedStack:
        assert self.found is not None, f"{self.name} is not up"
        return self.found

    def ensure(self) -> None:
        """Have it running: after a kill, as whoever supervises it would."""
        self.found = stack.up(self.folder, read_settings(LocalSettings, {}), read_shared({}), (self.kind,))

    def down(self) -> None:
        stack.down(self.folder)

    def send(self, number: signal.Signals) -> None:
        os.kill(self._pid(), number)

    def port(self, name: str) -> int:
        return stack.read_ports(self.folder)[name]

    def _pid(self) -> int:
        """Of Triton the server and not its keeper, which starts it again."""
        if self.kind == "triton":
            return server_of(Path(self.at.triton_repository))
        leader = Supervisor(Layout.of(self.folder)).read_leader(LEADER[self.kind])
        assert leader is not None, f"{self.name} is gone"
        return leader.process.pid


def ensure_all(parts: Sequence[ServerPart]) -> None:
    """Side by side."""
    with ThreadPoolExecutor(len(parts)) as pool:
        for done in [pool.submit(part.ensure) for part in parts]:
            done.result()
