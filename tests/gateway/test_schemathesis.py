"""Whatever the OpenAPI document allows or forbids, the gateway does: Schemathesis asks a real one, with all its checks.

Its command is run as anybody would, over a real socket, against a gateway with API keys, so that it can leave the key
out and send a wrong one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Client, StartGateway, StartWorker

KEY = "a long random string"
COMMAND = str(Path(sys.executable).parent / "schemathesis")
HOOKS = "tests.gateway.schemathesis_hooks"
CASES = re.compile(r"(\d+) generated")


@pytest.fixture
def gateway(start_gateway: StartGateway, start_worker: StartWorker, tmp_path: Path) -> Client:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"id": "app", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}))
    start_worker()
    return start_gateway(api_keys_file=keys)


def test_500_requests_are_answered_as_the_document_says(gateway: Client, tmp_path: Path) -> None:
    assert cases_that_passed(gateway, tmp_path, 115, "--generation-deterministic") >= 500


@pytest.mark.faults
@pytest.mark.timeout(1_800)
def test_10000_requests_are_answered_as_the_document_says(gateway: Client, tmp_path: Path) -> None:
    assert cases_that_passed(gateway, tmp_path, 6_000, "--generation-database", "none") >= 10_000


def cases_that_passed(gateway: Client, folder: Path, examples: int, *more: str) -> int:
    """`examples`: of each operation, that have parameters; what can be enumerated comes on top."""
    arguments = [
        "run", f"{gateway.url}/openapi.json", "--checks", "all", "--max-examples", str(examples), "--no-color",
        "--header", f"Authorization: Bearer {KEY}", "--continue-on-failure",
        *more,
    ]  # fmt: skip
    environ = {**os.environ, "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": os.getcwd()}
    ran = subprocess.run(
        [COMMAND, *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=1_700, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    cases = CASES.search(ran.stdout)
    assert cases, ran.stdout
    return int(cases[1])
