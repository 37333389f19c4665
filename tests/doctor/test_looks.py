"""How looks end, whatever they meet; and the looks at files, processes, KEDA and clocks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.doctor.faults import NOBODY, QUIET, findings, silent_server, wrong
from tests.kubernetes.http_twin import http_cluster
from waypost.clock import ManualClock
from waypost.doctor.clocks import Clocks, ahead_by
from waypost.doctor.findings import Finding, bad, ok, skipped, warn, worst_first
from waypost.doctor.looking import Look, Part, examine
from waypost.doctor.looks import Subject, all_looks
from waypost.doctor.processes import process_look
from waypost.doctor.scaling import scaling_look
from waypost.doctor.settings import key_looks
from waypost.errors import StoreUnavailable
from waypost.gateway.keys import load_api_keys
from waypost.kubernetes.memory import MemoryCluster
from waypost.kubernetes.protocols import SCALED_OBJECTS, Json
from waypost.kubernetes.serving import WORKERS
from waypost.settings import GatewaySettings, Parts, SharedSettings, WorkerSettings
from waypost.verbs.clusters import open_cluster
from waypost.verbs.doctor import KINDS

SHORT, LONG = 0.2, 5.0
LIMIT_SECONDS = 8.5  # of any look: under ten with the start of Python and its packages


def a_look(*found: Finding, then: Exception | threading.Event | None = None) -> Look:
    """Of three parts; after what it finds it raises, hangs, or ends."""

    def find() -> Iterator[Finding]:
        yield from found
        if isinstance(then, Exception):
            raise then
        if then is not None:
            then.wait(LONG)

    return Look((Part("bucket", SHORT), Part("pointer", SHORT, "wait"), Part("release", SHORT)), find)


def test_a_look_that_hangs_is_left_and_says_where_it_hung() -> None:
    forever = threading.Event()
    hung, other = a_look(ok("bucket", "is there"), then=forever), a_look(bad("bucket", "is away", "check it"))
    found = examine([hung, other])
    forever.set()
    assert found[:4] == [
        ok("bucket", "is there"),
        bad("pointer", "gave no answer within 0.2 s", "wait"),
        skipped("release", "pointer could not be used"),
        bad("bucket", "is away", "check it"),
    ]


def test_an_error_is_a_finding_with_its_remedy_and_the_parts_behind_it_are_skipped() -> None:
    assert examine([a_look(then=StoreUnavailable("S3 is away", "check it"))]) == [
        bad("bucket", "S3 is away", "check it"),
        skipped("pointer", "bucket could not be used"),
        skipped("release", "bucket could not be used"),
    ]


def test_a_mistake_of_ours_hides_no_other_finding_and_shows_nothing_of_what_it_held() -> None:
    found = examine([a_look(then=KeyError("a secret")), a_look(bad("bucket", "is away", "check it"))])
    assert found[0].what == "the look itself failed: KeyError"
    assert bad("bucket", "is away", "check it") in found


def test_a_package_that_is_not_installed_is_no_fault_of_the_part() -> None:
    found = examine([a_look(then=ModuleNotFoundError("no", name="psycopg2"))])
    assert {finding.level for finding in found} == {"skipped"}
    assert "psycopg2 is not installed" in found[0].what


def test_no_look_may_take_longer_than_the_whole_is_given() -> None:
    parts = Parts(postgres_dsn="x", bucket="x", request_queue_url="http://x/1/q", triton_url=NOBODY)
    subject = Subject(
        {}, KINDS, SharedSettings(), GatewaySettings(), WorkerSettings(), parts, load_api_keys,
        lambda: (MemoryCluster(), "default"), ManualClock(),
    )  # fmt: skip
    looks = all_looks(subject, Clocks(ManualClock()))
    assert len(looks) == 11
    for look in looks:
        assert sum(part.seconds for part in look.parts) <= LIMIT_SECONDS, look.parts
        assert all(part.seconds <= 5 for part in look.parts), look.parts


def test_findings_are_lines_worst_first_with_what_to_do() -> None:
    found = [ok("a", "is well"), skipped("b", "it is not known"), warn("c", "is\nold", "renew it"), bad("d", "x", "y")]
    assert [finding.line() for finding in worst_first(found)] == [
        "BAD d x: y",
        "WARN c is old: renew it",
        "skipped b because it is not known",
        "ok a is well",
    ]


def test_without_settings_and_without_a_stack_it_says_how_to_have_either(tmp_path: Path) -> None:
    found = findings({"WAYPOST_LOCAL_DIR": str(tmp_path)})
    assert wrong(found) == [("bad", "settings")]
    assert found[0].fix == "run `waypost local up` or set them"


def test_a_setting_that_makes_no_sense_is_named() -> None:
    found = findings({"WAYPOST_TRITON_URL": "http://nonsense"})
    assert wrong(found) == [("bad", "settings")]
    assert "WAYPOST_TRITON_URL" in found[0].what


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("message keys", None),
        ("message keys", '{"keys": [{"id": "k1", "secret": "c2hvcnQ="}]}'),
        ("release keys", "no key at all"),
        ("API keys", '{"keys": []}'),
    ],
)
def test_keys_that_cannot_be_used_are_named(tmp_path: Path, part: str, content: str | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    parts = Parts(
        message_keys_file=path if part == "message keys" else None,
        release_keys_file=path if part == "release keys" else None,
    )
    found = examine(key_looks(parts, path if part == "API keys" else None, load_api_keys))
    assert wrong(found) == [("bad", part)]
    assert all(finding.fix for finding in found if finding.level == "bad")
    assert [finding.level for finding in found].count("skipped") == 2


def test_a_bucket_without_release_keys_is_warned_of_and_bad_where_nothing_may_be_embedded() -> None:
    for allowed, level in ((True, "warn"), (False, "bad")):
        found = examine(key_looks(Parts(bucket="b", unsigned_allowed=allowed), None, load_api_keys))
        assert wrong(found) == [(level, "release keys")]


@contextmanager
def a_process(answers: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """A small HTTP server that answers these paths so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


METRICS = (200, "waypost_gateway_ready 1\n")


@pytest.mark.parametrize(
    ("answers", "level", "told"),
    [
        ({"/readyz": (200, ""), "/metrics": METRICS}, "ok", "is ready"),
        ({"/readyz": (503, ""), "/metrics": METRICS}, "bad", "is not ready (HTTP 503)"),
        ({"/readyz": (200, ""), "/metrics": (200, "another program")}, "bad", "shows no metrics"),
    ],
)
def test_a_process_is_asked_whether_it_is_ready_and_watched(
    answers: Mapping[str, tuple[int, str]], level: str, told: str
) -> None:
    with a_process(answers) as url:
        (found,) = examine([process_look("gateway", url, f"{url}/metrics")])
    assert found.level == level
    assert told in found.what


def test_a_process_that_is_gone_or_hangs_answers_nobody_and_an_unknown_one_is_skipped() -> None:
    with silent_server() as where:
        found = examine([process_look("worker", f"http://{at}", None) for at in (NOBODY, where)])
    assert [finding.level for finding in found] == ["bad", "bad"]
    (unknown,) = examine([process_look("worker", None, None)])
    assert unknown.level == "skipped"


def scaled(*, ready: str = "True", fallback: str = "False", **marks: str) -> Json:
    conditions = [
        {"type": "Ready", "status": ready, "message": "it has triggers" if ready == "True" else "no such queue"},
        {"type": "Fallback", "status": fallback},
    ]
    annotations = {f"autoscaling.keda.sh/{name}": value for name, value in marks.items()}
    metadata = {"name": "waypost-worker", "labels": dict(WORKERS), "annotations": annotations}
    return {"metadata": metadata, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("held", "level", "told"),
    [
        (scaled(), "ok", "waypost-worker scales"),
        (scaled(ready="False"), "bad", "no such queue"),
        (scaled(fallback="True"), "bad", "cannot read the queue"),
        (scaled(paused="true"), "warn", "is paused by an operator"),
        (None, "skipped", "no ScaledObject"),
    ],
)
def test_keda_is_believed_about_its_own_scaled_object(held: Json | None, level: str, told: str) -> None:
    memory = MemoryCluster()
    if held is not None:
        memory.create(SCALED_OBJECTS, "shop", held)
    with http_cluster(memory) as cluster:
        for name in (None, "waypost-worker"):
            (found,) = examine([scaling_look(lambda: (cluster, "shop"), name)])
            assert (found.level, told in found.what) == (level, True)


def test_a_pause_of_a_release_switch_is_no_warning() -> None:
    memory, held = MemoryCluster(), scaled()
    marks = {"autoscaling.keda.sh/paused-scale-in": "true", "waypost.dev/scale-in-paused-until": "9"}
    held["metadata"]["annotations"] = marks
    memory.create(SCALED_OBJECTS, "shop", held)
    (found,) = examine([scaling_look(lambda: (memory, "shop"), None)])
    assert (found.level, "waits for a release" in found.what) == ("ok", True)


def test_a_cluster_that_refuses_or_is_not_known_is_skipped_by_name(tmp_path: Path) -> None:
    with http_cluster(MemoryCluster(allowed=set())) as cluster:
        (refused,) = examine([scaling_look(lambda: (cluster, "shop"), None)])
    assert (refused.level, "forbidden" in refused.what) == ("skipped", True)
    (unknown,) = examine([scaling_look(lambda: open_cluster(QUIET, {"HOME": str(tmp_path)}), None)])
    assert (unknown.level, "no cluster is known" in unknown.what) == ("skipped", True)


@pytest.mark.parametrize(
    ("told", "asked_at", "answered_at", "ahead"),
    [
        ((100, 101), 100.4, 100.6, 0),  # within the second that a Date header leaves out
        ((100, 100), 99.9, 100.1, 0),
        ((100, 101), 130, 131, 29),
        ((100, 101), 60, 61, -39),
        ((100, 101), 90, 110, 0),  # a slow answer proves nothing
    ],
)
def test_a_skew_is_the_least_that_explains_the_times(
    told: tuple[float, float], asked_at: float, answered_at: float, ahead: float
) -> None:
    assert ahead_by(*told, asked_at, answered_at) == pytest.approx(ahead)


def test_of_several_clocks_those_that_differ_are_named_the_farthest_first() -> None:
    clocks = Clocks(ManualClock(1_000.0))
    assert clocks.finding().level == "skipped"
    for name, told_at in (("S3", 1_000.0), ("SQS", 990.0), ("Postgres", 1_400.0)):
        clocks.compare(name, told_at, 1_000.0)
    found = clocks.finding()
    assert (found.level, found.what) == ("bad", "of this machine is 400 s behind Postgres; 10 s ahead of SQS")
