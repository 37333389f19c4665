"""Environments that peers have to themselves, under .venv: made once, and again when their pins change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.processes import ROOT
from bench.progress import say

UV = Path(sys.executable).parent / "uv"


def have_environment(folder: Path, pins: Path, *, with_dependencies: bool = False) -> Path:
    """Its interpreter. Without dependencies, the pins name everything there is to install."""
    python = folder / "bin" / "python"
    stamp = folder / f"made-from-{hashlib.sha256(pins.read_bytes()).hexdigest()[:16]}"
    if not stamp.exists():
        say(f"making {folder} from {pins.name}")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        alone = [] if with_dependencies else ["--no-deps"]
        install = [str(UV), "pip", "install", "-q", "--python", str(python), *alone, "-r", str(pins)]
        subprocess.run(install, check=True, env={**os.environ, **_index()})
        stamp.touch()
    return python


def read_pins(pins: Path) -> dict[str, str]:
    """Name -> version."""
    lines = (line.strip() for line in pins.read_text().splitlines())
    return dict(line.split("==", 1) for line in lines if line and not line.startswith("#"))


def _index() -> dict[str, str]:
    """An index that pip was configured with serves uv too, as in deploy/setup.sh."""
    if "UV_DEFAULT_INDEX" in os.environ:
        return {}
    found = (
        os.environ.get("PIP_INDEX_URL")
        or subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    )
    return {"UV_DEFAULT_INDEX": found} if found else {}
