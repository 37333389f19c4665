"""What every row gets: where the data is, when to stop, how to name what it found."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.quality.verbs import Done, Stack, TimeIsUp, a_stack


@dataclass(frozen=True)
class Outcome:
    figures: Mapping[str, Mapping[str, Any]]  # group -> name -> number
    peak_bytes: int  # of the largest night


@dataclass(frozen=True)
class Bench:
    data: Path
    deadline: float  # of time.monotonic()
    settings: Mapping[str, str] = field(default_factory=dict)  # WAYPOST_ variables of every verb

    @property
    def evaluate(self) -> Path:
        return self.data / "evaluate.py"

    def check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise TimeIsUp

    @contextmanager
    def stack(self, **settings: str) -> Iterator[Stack]:
        with a_stack(self.deadline, {**self.settings, **settings}) as stack:
            yield stack

    @contextmanager
    def folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="waypost-quality-") as folder:
            yield Path(folder)


def night_figures(night: Done) -> dict[str, Any]:
    """Seconds of the whole and of its stages."""
    stages = {name: fields["seconds"] for name, fields in night.stages.items()}
    return {"seconds": night.seconds, "peak_bytes": night.peak_bytes, **stages}


def holdout_figures(night: Done) -> dict[str, Any]:
    """What the trainer itself found on its own holdout, as it logs it; nothing where it judged none."""
    judged = night.stages.get("holdout judged", {})
    return {name: value for name, value in judged.items() if isinstance(value, int | float) and name != "seconds"}
