"""What the caller of a night wants beside its checkpoint. No torch here: what cannot be had is told before it loads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from waypost.errors import UsageError
from waypost.trainer.checks import Override


@dataclass(frozen=True)
class NightWish:
    evaluation: Path | None = None  # folder for the judged lists
    report: Path | None = None  # file for the report page
    dry_run: bool = False  # up to the decision; the report as a table on standard output
    override: Override | None = None  # what the gate is to let pass


def require_writable(path: Path) -> None:
    """Raises UsageError before the night for a file that could not be written after it."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written", "name a file in a folder that can be written to")
