"""Long columns a block at a time. Pure.

What a block needs on the way stays in the processor's cache, where the same of a whole column would ask the system for
new memory, which costs more than the arithmetic (docs/experiments.md)."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_ROWS = 65_536  # a multiple of 8, so that blocks of bits begin at whole bytes


def blocks(count: int) -> Iterator[slice]:
    """0…count in slices, each but the last of BLOCK_ROWS."""
    for start in range(0, count, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, count))
