"""The import rules of the design: down only, processes apart, and no torch where none is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "waypost"
DOOR = {"cli", "verbs"}
PROCESSES = {"trainer", "exporter", "gateway", "worker"}
CLIENT = {"client"}  # in the app's own process: a part of nothing else here, and little else with it
DOCTOR = {"doctor"}  # looks at every part through the nouns; what only a process or the stack knows, the door hands it
LOCAL = {"local"}  # the embedded stack: it may use nouns, nobody but the door may use it
NOUNS = {"graph", "model", "release", "queueing", "objects", "kubernetes"}
BASICS = {
    "announcing",
    "ending",
    "extras",
    "memory",
    "settings",
    "errors",
    "metrics",
    "logs",
    "clock",
    "questions",
    "stages",
    "faults",
    "limits",
    "key_types",
    "http_models",
}
NOUN_MAY_IMPORT = {
    "objects": set(),
    "kubernetes": set(),
    "queueing": set(),
    "graph": {"objects"},
    "model": {"graph", "objects"},
    "release": {"graph", "model", "objects"},
}


def imports_of(path: Path) -> set[str]:
    """The waypost modules or packages, one level down, that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "waypost":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("waypost."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("waypost.")}
    return found - {"__version__"}


def owner_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def allowed_for(owner: str) -> set[str]:
    if owner in DOOR:
        return DOOR | PROCESSES | LOCAL | DOCTOR | NOUNS | BASICS
    if owner in PROCESSES | LOCAL | DOCTOR:
        return NOUNS | BASICS | {owner}
    if owner in CLIENT:
        return BASICS | CLIENT | {"queueing"}  # its retry budget
    if owner in NOUNS:
        return BASICS | {owner} | NOUN_MAY_IMPORT[owner]
    return BASICS


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down_only(path: Path) -> None:
    owner = owner_of(path)
    assert owner in DOOR | PROCESSES | CLIENT | LOCAL | DOCTOR | NOUNS | BASICS | {"__init__"}, (
        f"{owner} has no place in the design"
    )
    assert imports_of(path) <= allowed_for(owner)


LEAN = {
    "client": (
        "waypost.client",
        {"torch", "numpy", "fastapi", "uvicorn", "boto3", "botocore", "prometheus_client", "rich", "tenacity", "onnx"}
        | {"cryptography", "tritonclient", "psycopg2", "tokenizers"},
    ),
    "gateway": ("waypost.gateway.run", {"torch", "numpy", "onnx", "onnxruntime", "psycopg2", "tritonclient"}),
    "worker": ("waypost.worker.run", {"torch", "onnx", "onnxruntime", "psycopg2", "fastapi", "scipy", "yaml"}),
    "cli": ("waypost.cli", {"torch", "numpy", "fastapi", "boto3", "onnx", "psycopg2"}),
}


@pytest.mark.parametrize("process", LEAN)
def test_a_process_starts_without_what_it_does_not_need(process: str) -> None:
    module, forbidden = LEAN[process]
    blocker = (
        "import sys\n"
        f"forbidden = {sorted(forbidden)!r}\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in forbidden:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"import {module}\n"
    )
    done = subprocess.run([sys.executable, "-c", blocker], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
