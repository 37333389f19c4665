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

from waypost.cli import VERBS
from waypost.commands import build_parser


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
    assert parser.format_help().isascii() or "×" not in parser.format_help()
    for action in parser._actions:
        if action.option_strings and action.dest not in ("help", "version"):
            assert action.help or action.choices or action.metavar or action.default is not None, action.dest


def test_an_unknown_verb_is_a_usage_error(tmp_path: Path) -> None:
    assert waypost("nonsense", folder=tmp_path).returncode == 2


def test_unknown_settings_exit_with_78_in_one_line(tmp_path: Path) -> None:
    done = waypost("gateway", folder=tmp_path, WAYPOST_GATEWAY_PROT="1", WAYPOST_WROKER="2")
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert "WAYPOST_GATEWAY_PROT" in done.stderr
    assert "WAYPOST_WROKER" in done.stderr


@pytest.mark.parametrize("verb", ["night", "trainer", "exporter", "gateway", "worker", "release list"])
def test_without_parts_a_verb_says_how_to_have_them(tmp_path: Path, verb: str) -> None:
    done = waypost(*verb.split(), folder=tmp_path)
    assert done.returncode == 78
    assert "run `waypost local up` or set them" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_an_image_an_absent_switch_is_an_error(tmp_path: Path) -> None:
    done = waypost("worker", folder=tmp_path, WAYPOST_EMBEDDED="never", WAYPOST_BUCKET="b")
    assert done.returncode == 78
    assert "WAYPOST_REQUEST_QUEUE_URL, WAYPOST_TRITON_URL not set and WAYPOST_EMBEDDED=never" in done.stderr


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
