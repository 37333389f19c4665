"""The peers' environment, .venv/peers: made once, and again when its pins change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.processes import ROOT
from bench.progress import say

PINS = ROOT / "deploy" / "bench-requirements.txt"
FOLDER = ROOT / ".venv" / "peers"
UV = Path(sys.executable).parent / "uv"
MODULE = "bench.peer_process"


def have_peers() -> Path:
    """The peers' interpreter."""
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / f"made-from-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]}"
    if not stamp.exists():
        say(f"making {FOLDER} from {PINS.name}")
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(FOLDER)], check=True)
        install = [str(UV), "pip", "install", "-q", "--python", str(python), "--no-deps", "-r", str(PINS)]
        subprocess.run(install, check=True, env={**os.environ, **_index()})
        stamp.touch()
    return python


def read_versions() -> dict[str, str]:
    """Name -> version, as pinned."""
    lines = (line.strip() for line in PINS.read_text().splitlines())
    return dict(line.split("==", 1) for line in lines if line and not line.startswith("#"))


def _index() -> dict[str, str]:
    """An index that pip was configured with serves uv too, as in deploy/setup.sh."""
    if "UV_DEFAULT_INDEX" in os.environ:
        return {}
    found = (
        os.environ.get("PIP_INDEX_URL")
        or subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    )
    return {"UV_DEFAULT_INDEX": found} if found else {}


if __name__ == "__main__":
    print(have_peers(), json.dumps(read_versions()))
