"""Where the data to measure with stands: beside the checkout, or where BENCH_DATA says."""

from __future__ import annotations

import os
from pathlib import Path

from bench.processes import ROOT

DATA = Path(os.environ.get("BENCH_DATA") or ROOT.parent / "shared" / "data")
EVALUATE = "evaluate.py"


def is_there(folder: Path = DATA) -> bool:
    return (folder / EVALUATE).is_file()


def absence(folder: Path = DATA) -> str:
    return f"not run: there is no {folder / EVALUATE}; name the data folder by BENCH_DATA"
