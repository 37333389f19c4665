"""A served world with a real Prometheus and Alertmanager on it, and a receiver of what they send."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.grafana.monitoring import Prometheus, Receiver, alertmanager, prometheus
from tests.test_end_to_end import Waypost, a_served_world, eventually, known_users

SCRAPE_SECONDS = 5


@dataclass
class Watched:
    waypost: Waypost
    prometheus: Prometheus
    receiver: Receiver

    def version(self) -> int:
        return int(json.loads(self.waypost("release", "show"))["version"])

    def restart(self, part: str, **environ: str) -> None:
        """Another process of that part, with these settings more."""
        self.waypost.environ |= environ
        os.kill(self.waypost.part(part)["pid"], signal.SIGTERM)
        eventually(lambda: self.waypost.part(part)["state"] == "down")
        self.waypost("local", "up")
        eventually(lambda: self.waypost.part(part)["state"] == "up")
        eventually(lambda: self.waypost.part("gateway")["state"] == "up")  # other settings start it anew, too
        self.waypost.part_url = self.waypost.part("gateway")["url"]

    def publish(self, verb: str = "exporter") -> int:
        """One more release of the same checkpoint, or of a `night`; returns its version once it answers."""
        self.waypost(verb)
        version = self.version()
        user = known_users(self.waypost)[0]
        eventually(lambda: self.waypost.ask(user_id=user, deadline_ms=3000)["model_version"] == version)
        return version

    def wait_for(self, alert: str, since: float, patience: float, **labels: str) -> float | None:
        """Seconds until an alert of that name with these labels arrived; None: it did not within the patience."""
        while time.monotonic() - since < patience:
            for at, told in self.receiver.named(alert, since):
                if told.items() >= labels.items():
                    return at - since
            time.sleep(1)
        return None


@contextmanager
def a_watched_world(folder: Path, **environ: str) -> Iterator[Watched]:
    with (
        a_served_world(folder, **environ) as waypost,
        alertmanager(folder / "alertmanager") as (where, receiver),
        prometheus(folder / "prometheus", lambda: targets(waypost), SCRAPE_SECONDS, where) as found,
    ):
        yield Watched(waypost, found, receiver)


def targets(waypost: Waypost) -> dict[str, str]:
    urls = {part: waypost.part(part)["metrics_url"] for part in ("gateway", "worker", "triton")}
    return {part: urlsplit(url).netloc for part, url in urls.items() if url}
