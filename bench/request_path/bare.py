"""The peer: a bare FastAPI endpoint that takes our request, validates it, and returns a body like ours, in uvicorn.

As its documentation shows it, and no faster way around it; nothing is asked of anybody.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from bench.processes import ROOT
from waypost.http_models import Item, RecommendRequest, RecommendResponse

ENDING_SECONDS = 10
ITEMS = [Item(post_id=5_000_000 + place, score=1.0 - place / 100) for place in range(20)]
app = FastAPI()


@app.post("/recommend")
async def recommend(asked: RecommendRequest) -> RecommendResponse:
    return RecommendResponse(
        request_id="5d41402abc4b2a76b9719d911017c592",
        user_id=asked.user_id,
        model_version=1,
        source="graphsage",
        degraded=False,
        items=ITEMS[: asked.k],
    )


@dataclass(frozen=True)
class Bare:
    url: str
    pid: int


@contextmanager
def bare_fastapi() -> Iterator[Bare]:
    """It, in a process of its own."""
    command = [sys.executable, "-m", "bench.request_path.bare"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield Bare(process.stdout.readline().strip(), process.pid)
    finally:
        process.terminate()
        process.wait(ENDING_SECONDS)


def main() -> None:
    """Serve on a free port of loopback, told as one line."""
    bound = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, access_log=False, log_level="warning", loop="uvloop", http="httptools")
    uvicorn.Server(config).run([bound])


if __name__ == "__main__":
    main()
