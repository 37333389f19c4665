"""The cluster's programs, as `deploy/cluster/build.py` built them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).parents[2] / "deploy" / "cluster" / "build.py"
SECONDS = 60.0


class ToolsMissing(Exception):
    """What lacks, and how to have it."""


def find_tools() -> dict[str, Path]:
    """Each by its name; raises ToolsMissing."""
    done = subprocess.run(
        [sys.executable, str(BUILD), "--where"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        lacking = [line for line in done.stdout.splitlines() if line.endswith("is not built")]
        raise ToolsMissing(done.stderr.strip() or f"{'; '.join(lacking)}: run `make test-cluster`, which builds them")
    return {tool: Path(path) for tool, _, path in (line.partition(" ") for line in done.stdout.splitlines())}
