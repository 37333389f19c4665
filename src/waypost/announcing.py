"""Where a process listens, said in a small file for `waypost local status`, for as long as the process is there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def announced(path: Path | None, url: str, metrics_url: str) -> Iterator[None]:
    """Write `{"pid", "url", "metrics_url"}` to `path` whole or not at all, and remove it after; None: say nothing."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps({"pid": os.getpid(), "url": url, "metrics_url": metrics_url}))
    scratch.replace(path)
    try:
        yield
    finally:
        if _is_ours(path):  # another process of that name may have come meanwhile
            path.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text())["pid"] == os.getpid())
    except (OSError, ValueError, KeyError, TypeError):
        return False
