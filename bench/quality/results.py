"""bench/quality.json: what each row of the table found, kept as soon as it is known, so that a run can be resumed.

A row stands for one digest of the code, data and settings it was made with; with the same digest it is not run again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Found:
    """One row that was run."""

    digest: str
    command: str
    seed: int
    seconds: float  # of the whole row
    peak_bytes: int  # of its largest night
    made_at: str
    commit: str
    uncommitted: bool  # whether the checkout differed from that commit
    machine: Mapping[str, Any]
    figures: Mapping[str, Any]  # numbers, in groups
    settings: Mapping[str, str] = field(default_factory=dict)  # WAYPOST_ variables of the run


def load_found(path: Path) -> dict[str, Found]:
    """By row; nothing where there is no file, or one of another format."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    if content.get("format") != FORMAT:
        return {}
    return {name: Found(**row) for name, row in content["rows"].items()}


def save_found(path: Path, found: Mapping[str, Found]) -> None:
    """Whole or not at all."""
    content = {"format": FORMAT, "rows": {name: asdict(row) for name, row in sorted(found.items())}}
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    scratch.replace(path)


def digest_of(paths: Iterable[Path], *facts: object) -> str:
    """Of all files under these paths (Python's and pins', nothing made from them) and of these facts."""
    digest = hashlib.sha256(repr(facts).encode())
    for root in sorted(paths):
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root.parent)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
