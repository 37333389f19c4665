"""A generated world in an embedded stack of its own, under a temporary folder, gone when the block ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.progress import say
from waypost.graph.loading import load_directory
from waypost.local.stack import down, up
from waypost.local.world import write_world
from waypost.settings import EmbeddedStack, LocalSettings, Part, read_settings, read_shared

SEED = 1
BYTES_PER_INTERACTION = 700  # in files, Postgres and its indexes, and S3


@contextmanager
def world(interactions: int, parts: Sequence[Part] = ("postgres", "s3")) -> Iterator[tuple[EmbeddedStack, Path]]:
    """The stack and its folder."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-", ignore_cleanup_errors=True) as folder:
        local_dir, files = Path(folder) / "stack", Path(folder) / "world"
        free = 2**30 + BYTES_PER_INTERACTION * interactions
        stack = up(local_dir, read_settings(LocalSettings, {}), read_shared({}), parts, min_free_bytes=free)
        try:
            say(f"generating {interactions:,} interactions")
            write_world(files, interactions, SEED)
            say("loading them into Postgres")
            load_directory(stack.postgres_dsn, files)
            for file in files.iterdir():
                file.unlink()
            say("loaded")
            yield stack, local_dir
        finally:
            down(local_dir)


def store_of(stack: EmbeddedStack) -> dict[str, Any]:
    """The stack's S3, as the arguments of a command."""
    return {"bucket": stack.bucket, "access": asdict(stack.aws())}
