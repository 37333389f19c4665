"""A real Prometheus, and an Alertmanager where one is wanted, on the metrics of a stack that runs."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[2] / "grafana" / "rules"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.2
Targets = Callable[[], Mapping[str, str]]  # job -> host:port, which a part that is started again may change


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query. Raises HTTPError for one that Prometheus refuses."""
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=20) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def exemplars(self, expression: str, seconds: float) -> list[dict[str, Any]]:
        """Those of the last so many seconds: their series' labels, and the exemplars of each."""
        span = {"query": expression, "start": time.time() - seconds, "end": time.time()}
        with urllib.request.urlopen(
            f"{self.url}/api/v1/query_exemplars?{urllib.parse.urlencode(span)}", timeout=20
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]
            return found

    def value(self, expression: str) -> float | None:
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None


@dataclass
class Receiver:
    """Where Alertmanager sends what fires: (when it came, its labels) of each."""

    arrived: list[tuple[float, dict[str, str]]] = field(default_factory=list)

    def named(self, alert: str, since: float) -> list[tuple[float, dict[str, str]]]:
        return [one for one in list(self.arrived) if one[1]["alertname"] == alert and one[0] >= since]


@contextmanager
def prometheus(folder: Path, targets: Targets, seconds: int, alertmanager: str = "") -> Iterator[Prometheus]:
    """Scrapes every so many seconds; the rules are those that are shipped, evaluated as often as they say."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(folder, seconds, alertmanager)))
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    over = threading.Event()
    follow = threading.Thread(target=_follow, args=(folder / "targets.json", targets, over), daemon=True)
    follow.start()
    try:
        with _running(command, folder / "prometheus.log", f"{url}/-/ready"):
            yield Prometheus(url)
    finally:
        over.set()
        follow.join(STOP_SECONDS)


@contextmanager
def alertmanager(folder: Path) -> Iterator[tuple[str, Receiver]]:
    """(host:port, what it sent)."""
    receiver, port = Receiver(), free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _webhook(receiver))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    route = {
        "receiver": "test",
        "group_by": ["..."],
        "group_wait": "1s",
        "group_interval": "5s",
        "repeat_interval": "1h",
    }
    hook = {"url": f"http://127.0.0.1:{server.server_address[1]}/", "send_resolved": False}
    (folder / "alertmanager.yml").write_text(
        yaml.safe_dump({"route": route, "receivers": [{"name": "test", "webhook_configs": [hook]}]})
    )
    command = [
        "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=warn",
    ]  # fmt: skip
    try:
        with _running(command, folder / "alertmanager.log", f"http://127.0.0.1:{port}/-/ready"):
            yield f"127.0.0.1:{port}", receiver
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _running(command: Sequence[str], log: Path, ready: str) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(ready, log)
            yield
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(POLL_SECONDS)


def _configuration(folder: Path, seconds: int, alertmanager: str) -> dict[str, Any]:
    found = {
        "global": {"scrape_interval": f"{seconds}s", "evaluation_interval": f"{seconds}s"},
        "rule_files": [f"{RULES}/*.yaml"],
        "scrape_configs": [
            {
                "job_name": "stack",
                "file_sd_configs": [{"files": [f"{folder}/targets.json"], "refresh_interval": "2s"}],
            }
        ],
    }
    if alertmanager:
        found["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    return found


def _follow(path: Path, targets: Targets, over: threading.Event) -> None:
    while not over.is_set():
        found = [
            {"targets": [where], "labels": {"job": f"waypost-{job}", "namespace": "test", "pod": job}}
            for job, where in targets().items()
        ]
        path.with_suffix(".new").write_text(json.dumps(found))
        path.with_suffix(".new").replace(path)
        over.wait(2)


def _webhook(receiver: Receiver) -> type[http.server.BaseHTTPRequestHandler]:
    class Webhook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.arrived += [(time.monotonic(), alert["labels"]) for alert in content["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name is the base class'
            pass

    return Webhook
