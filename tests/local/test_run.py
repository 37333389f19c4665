"""`waypost local run --once`: what a newcomer and a script both rely on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path


def test_it_prints_the_address_and_one_answer_of_the_model_and_leaves_nothing_running(local_dir: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WAYPOST_", "AWS_"))}
    environ = {**inherited, "WAYPOST_LOCAL_DIR": str(local_dir), "WAYPOST_LOCAL_INTERACTIONS": "3000"}
    command = [sys.executable, "-m", "waypost.cli", "local"]
    done = subprocess.run(
        [*command, "run", "--once"], env=environ, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    ready, sample = done.stdout.splitlines()
    assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+", ready)
    answer = json.loads(sample)
    assert (answer["source"], answer["degraded"], answer["model_version"]) == ("graphsage", False, 1)
    assert len(answer["items"]) == 5
    status = subprocess.run(
        [*command, "status", "--json"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert {part["state"] for part in json.loads(status.stdout)["parts"].values()} == {"down"}
