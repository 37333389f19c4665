"""What builds the cluster's tools, without building any."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.tools import BUILD

MODULES = BUILD.parent / "modules"


def build(*arguments: str, first: str = "pass") -> subprocess.CompletedProcess[str]:
    """As a script, after what a test changes in it."""
    opened = f"import sys; sys.path.insert(0, {str(BUILD.parent)!r}); import build"
    program = f"{opened}; {first}; sys.exit(build.main(sys.argv[1:]))"
    environment = {"PATH": "/nowhere", "HOME": "/nowhere"}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("helm",), ("--where",)])
def test_without_go_it_says_so_in_one_line_and_fails(arguments: tuple[str, ...]) -> None:
    done = build(*arguments, first="build.USUAL_GO = build.Path('/nowhere/go')")
    assert done.returncode == 2
    assert (
        done.stderr == "build.py: Go is not installed; install Go 1.26 or newer (https://go.dev/dl) or put it on PATH\n"
    )


def test_a_tool_that_nobody_knows_is_a_usage_error() -> None:
    assert build("kubectl").returncode == 2


@pytest.mark.parametrize("module", sorted(path.name for path in MODULES.iterdir()))
def test_a_module_pins_its_version_and_every_source(module: str) -> None:
    said = build(first=f"print(build.version_of(next(m for m in build.ALL if m.name == {module!r}))); sys.exit()")
    version = said.stdout.strip()
    assert version.startswith("v")
    assert version in (MODULES / module / "go.mod").read_text(encoding="utf-8")
    assert (Path(MODULES) / module / "go.sum").stat().st_size > 0
