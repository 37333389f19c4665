"""`.ci/run` runs `make test` whatever comes, and `make test-cluster` where there are Go and the time for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 60


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of one as the script sees: a `make` and a build.py that do as they are told."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    make, build = tmp_path / "bin" / "make", tmp_path / "deploy" / "cluster" / "build.py"
    for script, what in ((make, 'echo "make $1" >> asked; [ "$1" != "$FAILS" ]'), (build, 'eval "${BUILD:-true}"')):
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/bash\n{what}\n")
        script.chmod(0o755)
    return tmp_path


def ci(clone: Path, **variables: str) -> tuple[int, list[str], str]:
    """Its exit code, what it asked of make, what it said."""
    given = {"PATH": f"{clone / 'bin'}:{os.environ['PATH']}", "FAILS": "nothing", **variables}
    done = subprocess.run(
        [clone / ".ci" / "run"], env=given, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.returncode, (clone / "asked").read_text().splitlines(), done.stderr


def test_with_go_and_time_it_runs_both(clone: Path) -> None:
    assert ci(clone)[:2] == (0, ["make test", "make test-cluster"])


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"BUILD": "exit 2"}, "there is no Go here"),
        ({"CI_LIMIT_SECONDS": "900"}, "make test left no time for it"),
        (
            {"BUILD": '[ "$1" = --where ] || sleep 30', "CI_LIMIT_SECONDS": "963"},
            r"its tools were not built in \d s; what was built stays in its cache",
        ),
    ],
)
def test_what_cannot_be_run_in_time_is_told_and_fails_nothing(clone: Path, variables: dict[str, str], why: str) -> None:
    code, asked, said = ci(clone, **variables)
    assert (code, asked) == (0, ["make test"])
    assert re.fullmatch(f"ci: make test-cluster was NOT run: {why}\n", said)


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({"FAILS": "test"}, ["make test"]),
        ({"FAILS": "test-cluster"}, ["make test", "make test-cluster"]),
        ({"BUILD": '[ "$1" = --where ] || exit 1'}, ["make test"]),
    ],
)
def test_what_fails_fails_it(clone: Path, variables: dict[str, str], asked: list[str]) -> None:
    code, found, _ = ci(clone, **variables)
    assert code == 1
    assert found == asked
