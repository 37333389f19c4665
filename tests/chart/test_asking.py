"""What `helm test` runs in its pod: it tells a good answer from a bad one, and why."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.chart.charting import CHART, REQUIRED, Helm, Object, container, environment, merged, named

GOOD = {"model_version": 3, "degraded": False, "items": [{"post_id": 1, "score": 0.5}]}


@contextmanager
def _gateway(status: int, answer: dict[str, Any], asked: list[dict[str, Any]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append({"key": self.headers["Authorization"], **json.loads(body)})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class' name
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/recommend"
    finally:
        server.shutdown()
        server.server_close()


def _ask(url: str, user: str = "42") -> subprocess.CompletedProcess[str]:
    source = (CHART / "files" / "ask.py").read_text()
    variables = {"URL": url, "USER_ID": user, "API_KEY": "secret", "NIGHT": "the night's command"}
    return subprocess.run(
        [sys.executable, "-Ic", source], env=variables, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_recommendation_is_a_passed_test() -> None:
    asked: list[dict[str, Any]] = []
    with _gateway(200, GOOD, asked) as url:
        done = _ask(url)
    assert done.returncode == 0, done.stderr
    assert "model version 3" in done.stdout
    assert asked == [{"key": "Bearer secret", "user_id": 42, "k": 5, "deadline_ms": 2000}]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (503, {}, "no release yet: run `the night's command`"),
        (401, {}, "api-key"),
        (500, {"detail": "broken"}, "broken"),
        (200, {**GOOD, "items": []}, "without a post"),
    ],
)
def test_anything_else_fails_and_says_why(status: int, answer: dict[str, Any], said: str) -> None:
    with _gateway(status, answer, []) as url:
        done = _ask(url)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_gateway_that_is_not_there_is_named() -> None:
    done = _ask("http://127.0.0.1:9/recommend")
    assert done.returncode == 1
    assert "before the first release none is ready: run `the night's command`" in done.stderr


@pytest.mark.parametrize(("user_id", "asked_for"), [(7, 7), (20_000_001, 20_000_001), ("u-1", "u-1"), ("7", "7")])
def test_the_user_is_asked_for_as_its_id_is_written(helm: Helm, user_id: object, asked_for: object) -> None:
    pod = named(helm.render(merged(REQUIRED, {"tests": {"userId": user_id}})), "Pod", "waypost-test")
    asked: list[dict[str, Any]] = []
    with _gateway(200, GOOD, asked) as url:
        assert _ask(url, environment(container(pod, "ask"))["USER_ID"]).returncode == 0
    assert [each["user_id"] for each in asked] == [asked_for]
    assert type(asked[0]["user_id"]) is type(asked_for)


def test_the_pod_asks_the_service_with_the_key_of_the_app(rendered: dict[str, list[Object]]) -> None:
    pod = named(rendered["required only"], "Pod", "waypost-test")
    one = container(pod, "ask")
    assert one["command"][-1] == (CHART / "files" / "ask.py").read_text()
    assert environment(one)["URL"] == "http://waypost-gateway:80/recommend"
    assert environment(one)["NIGHT"] == "waypost night --now --namespace rec --cron-job waypost-trainer"
    key = next(entry for entry in one["env"] if entry["name"] == "API_KEY")
    assert key["valueFrom"]["secretKeyRef"] == {"name": "waypost-api-keys", "key": "api-key"}
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
