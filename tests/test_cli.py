"""The door: exit codes, one-line errors, and help that can be read as documentation."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.cli import build_parser
from waypost.settings import Settings
from waypost.verbs import VERBS


def waypost(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    return subprocess.run(
        [sys.executable, "-m", "waypost.cli", *arguments],
        cwd=folder,
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def test_every_verb_of_the_parser_is_known_to_the_door() -> None:
    given = {p.get_default("verb") for p in parsers(build_parser())} - {None}
    assert given == set(VERBS)


@pytest.mark.parametrize("parser", list(parsers(build_parser())), ids=lambda parser: parser.prog)
def test_every_help_says_what_it_does_and_explains_each_option(parser: argparse.ArgumentParser) -> None:
    assert parser.description
    assert len(parser.description.split()) >= 4
    unexplained = [
        action.dest
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert not unexplained


def test_every_setting_is_in_some_help() -> None:
    helps = "".join(parser.format_help() for parser in parsers(build_parser()))
    names = [name for kind in Settings.__subclasses__() for name in kind.variables()]
    assert len(names) > 40
    assert not [name for name in names if name not in helps]


def test_an_unknown_verb_is_a_usage_error(tmp_path: Path) -> None:
    assert waypost("nonsense", folder=tmp_path).returncode == 2


def test_unknown_settings_exit_with_78_in_one_line(tmp_path: Path) -> None:
    wrong = {
        "WAYPOST_GATEWAY_PROT": "1",
        "WAYPOST_WROKER": "2",
        "WAYPOST_LOG_LEVEL": "loud",
        "WAYPOST_GATEWAY_PORT": "x",
    }
    done = waypost("gateway", folder=tmp_path, **wrong)
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert not [name for name in wrong if name not in done.stderr]


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["release", "list"], {"AWS_ENDPOINT_URL": "nonsense", "WAYPOST_BUCKET": "b"}),
        (["release", "list"], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "WAYPOST_BUCKET": "bad bucket!"}),
        (["trainer"], {"WAYPOST_POSTGRES_DSN": "not a dsn", "WAYPOST_BUCKET": "b"}),
        (["load", "nowhere"], {"WAYPOST_POSTGRES_DSN": "not a dsn"}),
    ],
)
def test_settings_that_make_no_sense_are_one_line(
    tmp_path: Path, arguments: list[str], environ: dict[str, str]
) -> None:
    done = waypost(*arguments, folder=tmp_path, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", **environ)
    assert done.returncode in (1, 78)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("waypost: ")


@pytest.mark.parametrize("verb", ["night", "trainer", "exporter", "gateway", "worker", "release list"])
def test_without_parts_a_verb_says_how_to_have_them(tmp_path: Path, verb: str) -> None:
    done = waypost(*verb.split(), folder=tmp_path)
    assert done.returncode == 78
    assert "run `waypost local up` or set them" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--accept", "below-srved", "--reason", "why"], "there is no check below-srved; name some of collapsed, "),
        (["--accept", "coverage"], "--accept wants a reason"),
        (["--report", "nowhere/report.html"], "nowhere/report.html cannot be written"),
    ],
)
def test_a_wrong_wish_is_told_before_the_night(tmp_path: Path, arguments: list[str], told: str) -> None:
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-west-1", "WAYPOST_BUCKET": "b"}
    done = waypost("trainer", *arguments, folder=tmp_path, WAYPOST_POSTGRES_DSN="host=127.0.0.1 port=9", **nowhere)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]


def test_in_an_image_an_absent_switch_is_an_error(tmp_path: Path) -> None:
    done = waypost("worker", folder=tmp_path, WAYPOST_EMBEDDED="never", WAYPOST_BUCKET="b")
    assert done.returncode == 78
    assert "WAYPOST_REQUEST_QUEUE_URL, WAYPOST_TRITON_URL not set and WAYPOST_EMBEDDED=never" in done.stderr


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("night", "WAYPOST_EXPORTER_SIGNING_KEY_FILE"),
        ("exporter", "WAYPOST_EXPORTER_SIGNING_KEY_FILE"),
        ("gateway", "WAYPOST_RELEASE_KEYS_FILE"),
        ("worker", "WAYPOST_RELEASE_KEYS_FILE"),
        ("recommend --all-users --output recs.tsv", "WAYPOST_RELEASE_KEYS_FILE"),
    ],
)
def test_in_an_image_releases_are_signed_and_checked_or_nothing_starts(tmp_path: Path, verb: str, name: str) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": [{"id": "1", "secret": "YSBuZXcgc2VjcmV0IG9mIG91cnMh"}]}')
    nowhere = "http://127.0.0.1:9"
    parts = {
        "WAYPOST_POSTGRES_DSN": "host=127.0.0.1 port=9", "WAYPOST_BUCKET": "b", "WAYPOST_TRITON_URL": "127.0.0.1:9",
        "WAYPOST_REQUEST_QUEUE_URL": f"{nowhere}/0/q", "WAYPOST_MESSAGE_KEYS_FILE": str(keys),
        "WAYPOST_WORKER_REPOSITORY": str(tmp_path),
        "AWS_ENDPOINT_URL": nowhere, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
    }  # fmt: skip
    done = waypost(*verb.split(), folder=tmp_path, WAYPOST_EMBEDDED="never", **parts)
    assert done.returncode == 78
    assert f"waypost: {name} is not set and WAYPOST_EMBEDDED=never" in done.stderr


def test_where_nothing_may_be_embedded_nothing_is_started(tmp_path: Path) -> None:
    done = waypost("local", "up", folder=tmp_path, WAYPOST_EMBEDDED="never")
    assert done.returncode == 78
    assert not (tmp_path / ".waypost").exists()


def test_status_of_no_stack_is_down_and_exits_1(tmp_path: Path) -> None:
    done = waypost("local", "status", "--json", folder=tmp_path)
    parts = json.loads(done.stdout)["parts"]
    assert done.returncode == 1
    assert set(parts) == {"postgres", "aws", "triton", "gateway", "worker"}
    assert {part["state"] for part in parts.values()} == {"down"}


def test_log_lines_are_one_json_object_each_when_nobody_watches(tmp_path: Path) -> None:
    done = waypost("local", "generate", str(tmp_path / "world"), "--interactions", "50", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert "world written" in events
    assert not re.search(r"\S", done.stdout)


def test_every_verb_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    missing = [verb for verb in VERBS if f"waypost {verb}" not in readme]
    assert not missing
