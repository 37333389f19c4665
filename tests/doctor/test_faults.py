"""Each fault, planted in real parts, is named by exactly its finding; parts that are well are said to be well."""

from __future__ import annotations

import json
import time

import psycopg2
import pytest

from tests.doctor.conftest import RELEASE
from tests.doctor.faults import NOBODY, findings, of, silent_server, wrong
from tests.factories import a_release
from tests.release.nights import CLOCK, KEY, replace
from waypost import cli
from waypost.clock import ManualClock
from waypost.doctor.clocks import BAD_SECONDS, WARN_SECONDS
from waypost.doctor.findings import to_json
from waypost.objects.s3 import S3ObjectStore
from waypost.queueing.protocols import OutgoingMessage
from waypost.queueing.sqs import SqsQueue
from waypost.release.moves import point_to
from waypost.release.pointer import POINTER_KEY, read_pointer
from waypost.release.store import publish
from waypost.settings import AwsAccess

Environ = dict[str, str]


def test_parts_that_are_well_are_all_called_well(environ: Environ) -> None:
    found = findings(environ)
    assert wrong(found) == []
    assert [finding.part for finding in found if finding.level == "skipped"] == ["worker", "gateway", "keda"]
    assert [finding.part for finding in found if finding.level == "ok"] == [
        "settings", "message keys", "release keys", "API keys", "database", "bucket", "pointer", "release", "queue",
        "dead letters", "triton", "model", "clock",
    ]  # fmt: skip
    assert "every digest right; signed by a trusted key" in of(found, "release").what
    assert of(found, "clock").what == "agrees with Postgres, S3, SQS"


def test_a_deleted_pointer_is_named_with_the_release_it_last_said(environ: Environ, store: S3ObjectStore) -> None:
    store.delete([POINTER_KEY])
    found = findings(environ)
    assert wrong(found) == [("bad", "pointer")]
    assert found[0].fix.endswith(f"`waypost release rollback {RELEASE}`")
    assert of(found, "release").level == of(found, "model").level == "skipped"


def test_a_bucket_without_any_release_asks_for_a_night(environ: Environ, store: S3ObjectStore) -> None:
    store.delete([info.key for info in store.list("")])
    assert findings(environ)[0].line() == "BAD pointer is not there: no release was ever published: run `waypost night`"


@pytest.mark.parametrize(("path", "told"), [("lookups.safetensors", "sha256"), ("manifest.json", "")])
def test_a_flipped_byte_in_the_release_is_named(environ: Environ, store: S3ObjectStore, path: str, told: str) -> None:
    held = store.get(f"releases/{RELEASE}/{path}")
    assert held is not None
    middle = len(held.body) // 2
    flipped = bytes([held.body[middle] ^ 1])
    replace(store, f"releases/{RELEASE}/{path}", held.body[:middle] + flipped + held.body[middle + 1 :])
    found = findings(environ)
    assert wrong(found) == [("bad", "release")]
    assert path in found[0].what or RELEASE in found[0].what
    assert told in found[0].what
    assert "waypost release rollback" in found[0].fix or "roll back" in found[0].fix


def test_a_wrong_bucket_is_named(environ: Environ) -> None:
    found = findings({**environ, "WAYPOST_BUCKET": "nobody-has-made-this"})
    assert wrong(found) == [("bad", "bucket")]
    assert "NoSuchBucket" in found[0].what
    assert [of(found, part).level for part in ("pointer", "release", "model")] == ["skipped"] * 3


def test_a_queue_that_is_away_is_named(environ: Environ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://{NOBODY}")
    found = findings(environ)
    assert wrong(found) == [("bad", "queue")]
    assert of(found, "dead letters").level == "skipped"
    assert of(found, "bucket").level == "ok"


def test_dead_letters_are_counted(environ: Environ, aws_access: AwsAccess, request_queue_url: str) -> None:
    dead = SqsQueue(aws_access, f"{request_queue_url}-dead")
    dead.send([OutgoingMessage(b"never to be answered", {})] * 2)
    dead.close()
    found = findings(environ)
    assert wrong(found) == [("warn", "dead letters")]
    assert "are 2" in found[0].what


def test_a_refused_password_is_named_and_not_shown(environ: Environ) -> None:
    dsn = environ["WAYPOST_POSTGRES_DSN"]
    before, _, host = dsn.rpartition("@")
    found = findings({**environ, "WAYPOST_POSTGRES_DSN": f"{before}-and-more@{host}"})
    assert wrong(found) == [("bad", "database")]
    assert "password authentication failed" in found[0].what
    assert before.rpartition(":")[2] not in to_json(found)


def test_a_role_that_may_not_read_a_mapped_table_is_named(environ: Environ, postgres_dsn: str) -> None:
    connection = psycopg2.connect(postgres_dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("REVOKE ALL ON interactions FROM waypost_reader")
        cursor.execute("REVOKE ALL (user_id, post_id, kind, created_at) ON interactions FROM waypost_reader")
    connection.close()
    found = findings(environ)
    assert wrong(found) == [("bad", "database")]
    assert "interactions: Postgres: permission denied" in found[0].what


def test_a_role_that_may_write_is_warned_of(environ: Environ, postgres_dsn: str) -> None:
    found = findings({**environ, "WAYPOST_POSTGRES_DSN": postgres_dsn})
    assert wrong(found) == [("warn", "database")]
    assert "write to public." in found[0].what


def test_a_triton_that_is_away_is_named(environ: Environ) -> None:
    found = findings({**environ, "WAYPOST_TRITON_URL": NOBODY})
    assert wrong(found) == [("bad", "triton")]
    assert of(found, "model").level == "skipped"


def test_a_pointer_to_a_release_that_triton_does_not_serve_is_named(environ: Environ, store: S3ObjectStore) -> None:
    publish(store, "000006-next", *a_release(version=6), KEY)
    point_to(store, read_pointer(store), "000006-next", 6, "a night", CLOCK)
    assert wrong(findings(environ)) == [("bad", "model")]


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_skewed_clock_is_named(environ: Environ, ahead: float) -> None:
    found = findings(environ, ManualClock(time.time() + ahead))
    assert wrong(found) == [("bad", "clock")]
    assert found[0].what.count("ahead of" if ahead > 0 else "behind") == 3
    assert WARN_SECONDS < BAD_SECONDS < abs(ahead)


def test_faults_are_told_worst_first_and_causes_before_what_follows(environ: Environ) -> None:
    found = findings(
        {
            **environ,
            "WAYPOST_TRITON_URL": NOBODY,
            "WAYPOST_GATEWAY_PROT": "1",
            "WAYPOST_RELEASE_KEYS_FILE": "",
            "WAYPOST_EMBEDDED": "auto",
            "WAYPOST_BUCKET": "nobody-has-made-this",
        }
    )
    assert wrong(found) == [("bad", "settings"), ("bad", "bucket"), ("bad", "triton"), ("warn", "release keys")]
    levels = [finding.level for finding in found]
    assert levels == sorted(levels, key=["bad", "warn", "skipped", "ok"].index)


def test_parts_that_all_hang_are_each_named(environ: Environ, monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_server() as where:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{where}")
        host, _, port = where.partition(":")
        found = findings(
            {
                **environ,
                "WAYPOST_POSTGRES_DSN": f"host={host} port={port} user=a dbname=b",
                "WAYPOST_TRITON_URL": where,
            }
        )
    assert wrong(found) == [("bad", "database"), ("bad", "bucket"), ("bad", "queue"), ("bad", "triton")]


def test_the_verb_prints_lines_or_json_and_says_by_its_exit_code_whether_anything_is_bad(
    environ: Environ, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    assert {"part", "level", "what", "fix"} == set(said["findings"][0])
    monkeypatch.setenv("WAYPOST_TRITON_URL", NOBODY)
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("BAD triton ")
    assert "skipped model because triton could not be used" in lines
    assert "ok message keys " in "\n".join(lines)
