"""The time of each step, printed as it ends and once more together at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

taken: list[tuple[str, float]] = []


@contextmanager
def step(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    taken.append((name, time.monotonic() - started))
    print(f"{name}: {taken[-1][1]:.1f} s", flush=True)
