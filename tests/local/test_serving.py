"""The gateway's and the worker's place in the stack, with a small real HTTP process in their place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.announcing import port_left
from waypost.gateway.ports import bind_preferred, port_of
from waypost.local.layout import Layout
from waypost.local.processes import wait_until
from waypost.local.serving import read_published, serving_spec
from waypost.local.status import read_status
from waypost.local.supervisor import PartSpec, Supervisor, private_environment
from waypost.local.telling import FIRST_RELEASE, NOT_SERVED, judge

# Publishes where it listens; alive at once, ready once the file `release` exists.
SERVER = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ok = self.path == "/healthz" or (self.path == "/readyz" and os.path.exists("release"))
        self.send_response(200 if ok else 503)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
url = f"http://127.0.0.1:{server.server_port}"
with open("run/worker.json", "w") as file:
    json.dump({"pid": os.getpid(), "url": url, "metrics_url": url + "/metrics"}, file)
server.serve_forever()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout.of(tmp_path / "stack")
    layout.create()
    yield layout
    Supervisor(layout).stop("worker")


def a_worker(layout: Layout, script: str = SERVER) -> PartSpec:
    real = serving_spec(layout, "worker", {})
    return PartSpec(
        name="worker",
        command=(sys.executable, "-c", script),
        environment=private_environment(layout.root),
        working_dir=layout.root,
        is_ready=real.is_ready,
        before_start=real.before_start,
    )


def state(layout: Layout) -> object:
    return read_status(layout.root)["parts"]["worker"]["state"]


def test_a_worker_without_a_release_counts_as_started_and_is_waiting(layout: Layout) -> None:
    Supervisor(layout).ensure(a_worker(layout))
    assert state(layout) == "waiting"
    (layout.root / "release").touch()
    assert wait_until(lambda: state(layout) == "up", 10)


def test_status_tells_where_the_worker_says_it_listens(layout: Layout) -> None:
    Supervisor(layout).ensure(a_worker(layout))
    published = read_published(layout, "worker")
    assert published is not None
    assert read_status(layout.root)["parts"]["worker"] == {
        "pid": published.pid, "url": published.url, "metrics_url": f"{published.url}/metrics", "state": "waiting",
    }  # fmt: skip


def test_the_address_of_a_worker_that_is_gone_is_not_believed(layout: Layout) -> None:
    layout.published("worker").write_text('{"pid": 1, "url": "http://127.0.0.1:1", "metrics_url": ""}')
    Supervisor(layout).ensure(a_worker(layout))
    published = read_published(layout, "worker")
    assert published is not None
    assert published.url != "http://127.0.0.1:1"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": "http://127.0.0.1:1"}', '{"pid": "x"}'])
def test_a_half_written_address_is_no_address(layout: Layout, content: str) -> None:
    layout.published("worker").write_text(content)
    assert read_published(layout, "worker") is None


def test_the_callers_settings_reach_the_process_and_their_change_restarts_it(layout: Layout) -> None:
    one = serving_spec(
        layout, "gateway", {"WAYPOST_GATEWAY_PORT": "8081", "WAYPOST_LOCAL_DIR": "elsewhere", "TERM": "a"}
    )
    same = serving_spec(layout, "gateway", {"WAYPOST_GATEWAY_PORT": "8081", "TERM": "b"})
    other = serving_spec(layout, "gateway", {"WAYPOST_GATEWAY_PORT": "8082"})
    assert one.environment["WAYPOST_GATEWAY_PORT"] == "8081"
    assert one.environment["WAYPOST_LOCAL_DIR"] == str(layout.root)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    layout.stack_file.write_text('{"aws_endpoint_url": "http://127.0.0.1:4566", "ports": {}}')
    assert serving_spec(layout, "gateway", {"WAYPOST_GATEWAY_PORT": "8081"}).fingerprint() != one.fingerprint()


FOR_BOTH = [("WAYPOST_LOG_LEVEL", "DEBUG"), ("WAYPOST_BUCKET", "b"), ("AWS_REGION", "eu-west-1")]
FOR_NONE = [
    ("WAYPOST_TRAINER_EPOCHS", "8"),
    ("WAYPOST_POSTGRES_DSN", "postgresql://app"),
    ("WAYPOST_MAPPING_FILE", "m.toml"),
    ("WAYPOST_LOAD_POSTGRES_DSN", "postgresql://app"),
    ("WAYPOST_EXPORTER_TARGET", "26.07"),
    ("WAYPOST_LOCAL_INTERACTIONS", "9"),
    ("WAYPOST_GATEWAY_CONCURRENCY", "512"),
    ("WAYPOST_WORKER_BATCH", ""),
]  # fmt: skip  the last two are the defaults


@pytest.mark.parametrize(
    ("name", "value", "restarted"),
    [
        *((name, value, {"gateway", "worker"}) for name, value in FOR_BOTH),
        *((name, value, set()) for name, value in FOR_NONE),
        ("WAYPOST_GATEWAY_CONCURRENCY", "7", {"gateway"}),
        ("WAYPOST_WORKER_BATCH", "7", {"worker"}),
        ("WAYPOST_TRITON_URL", "127.0.0.1:8001", {"worker"}),
    ],
)
def test_only_what_a_part_reads_itself_restarts_it(layout: Layout, name: str, value: str, restarted: set[str]) -> None:
    changed = {
        part for part in ("gateway", "worker")
        if serving_spec(layout, part, {}).fingerprint() != serving_spec(layout, part, {name: value}).fingerprint()
    }  # fmt: skip
    assert changed == restarted


def test_a_gateway_that_is_started_again_is_told_its_last_port(layout: Layout) -> None:
    where = layout.published("gateway")
    where.write_text('{"pid": 1, "url": "http://127.0.0.1:34499", "metrics_url": ""}')
    spec = serving_spec(layout, "gateway", {})
    where.unlink()  # it stops
    spec.before_start()
    assert port_left(where) == 34_499
    serving_spec(layout, "gateway", {}).before_start()  # after `local down`
    assert port_left(where) is None


def test_a_gateway_listens_where_its_callers_look_for_it() -> None:
    with bind_preferred("127.0.0.1", None, "X", None) as first:
        last = port_of(first)
    with bind_preferred("127.0.0.1", None, "X", last) as again:
        assert port_of(again) == last
        with bind_preferred("127.0.0.1", None, "X", last) as other:  # somebody has it
            assert port_of(other) != last


@pytest.mark.parametrize(
    ("states", "is_released", "expected"),
    [
        (["up", "up", "up"], True, (0, None)),
        (["up", "waiting", "waiting"], False, (0, FIRST_RELEASE)),
        (["up", "up", "waiting"], True, (1, NOT_SERVED)),
        (["up", "starting", "waiting"], False, (1, None)),
        (["up", "down", "up"], False, (1, None)),
        (["unhealthy", "waiting", "waiting"], False, (1, None)),
    ],
)
def test_a_stack_that_waits_for_its_first_release_is_as_it_should_be(
    states: list[str], is_released: bool, expected: tuple[int, str | None]
) -> None:
    assert judge(states, lambda: is_released) == expected
