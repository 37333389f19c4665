"""CPU of one call of `waypost.client`, beside bare aiohttp: `python -m bench.client`. The server is a process of its
own that always sends the same answer of 20 posts, so that what is measured is the client."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson

from waypost.client import AsyncClient, Client

CALLS, FIRST = 2_000, 50
ITEMS = [{"post_id": 10**6 + i, "score": 9.0 - i / 7} for i in range(20)]
ANSWER = {"request_id": "x" * 32, "user_id": 42, "model_version": 1, "source": "graphsage", "degraded": False}
SERVER = """
import asyncio, sys
body = sys.argv[1].encode()
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body

class Answers(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(answer)

async def serve():
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(serve())
"""


def show(name: str, cpu: float, wall: float) -> None:
    print(
        f"{name:14}{cpu / CALLS * 1e3:8.2f} ms of CPU a call, {wall / CALLS * 1e3:.2f} ms until it returns", flush=True
    )


def measure_blocking(url: str) -> None:
    with Client(url) as client:
        for _ in range(FIRST):
            client.recommend(42)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(CALLS):
            client.recommend(42)
        show("Client", time.process_time() - cpu, time.perf_counter() - wall)


async def measure_async(name: str, call: Callable[[], Awaitable[Any]]) -> None:
    for _ in range(FIRST):
        await call()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(CALLS):
        await call()
    show(name, time.process_time() - cpu, time.perf_counter() - wall)


async def measure_awaiting(url: str) -> None:
    async with AsyncClient(url) as client, aiohttp.ClientSession() as session:

        async def bare() -> Any:
            async with session.post(f"{url}/recommend", data=b'{"user_id":42}') as response:
                return orjson.loads(await response.read())

        await measure_async("AsyncClient", lambda: client.recommend(42))
        await measure_async("bare aiohttp", bare)


def main() -> None:
    command = [sys.executable, "-c", SERVER, orjson.dumps({**ANSWER, "items": ITEMS}).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline() if server.stdout else 0)}"
            measure_blocking(url)
            asyncio.run(measure_awaiting(url))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
