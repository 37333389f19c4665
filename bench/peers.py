"""The peers' environment, .venv/peers: made once, and again when its pins change."""

from __future__ import annotations

import json
from pathlib import Path

from bench.environments import have_environment, read_pins
from bench.processes import ROOT

PINS = ROOT / "deploy" / "bench-requirements.txt"
FOLDER = ROOT / ".venv" / "peers"
MODULE = "bench.peer_process"


def have_peers() -> Path:
    """The peers' interpreter."""
    return have_environment(FOLDER, PINS)


def read_versions() -> dict[str, str]:
    """Name -> version, as pinned."""
    return read_pins(PINS)


if __name__ == "__main__":
    print(have_peers(), json.dumps(read_versions()))
