"""Where a process listens, said in a small file for `waypost local status`, for as long as the process is there; and
where its successor should listen, so that callers find it again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PORT = ".port"


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


def leave_port(path: Path, port: int | None) -> None:
    """Tell the next process that says in `path` where it listens which port was last; None: there was none."""
    if port is None:
        path.with_suffix(_PORT).unlink(missing_ok=True)
    else:
        path.with_suffix(_PORT).write_text(str(port))


def port_left(path: Path | None) -> int | None:
    try:
        port = int(path.with_suffix(_PORT).read_text()) if path else 0
    except (OSError, ValueError):
        return None
    return port if 0 < port < 1 << 16 else None


def _is_ours(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text())["pid"] == os.getpid())
    except (OSError, ValueError, KeyError, TypeError):
        return False
