"""The load: a process that sends each request at its moment, whatever became of those before, and writes down what
came back. `python -m tests.chaos.load PLAN OUT`; standard input says where the gateways run now, and its end stops it.

It asks gateways that say they are ready, as a load balancer does, and goes to another one where a connection is
refused. A share of the requests goes through waypost.client, which chooses for itself.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import orjson
import uvloop

from tests.chaos.callers import App, Gateway, Outcome, Question
from tests.chaos.history import CLIENT, Asked, encode
from tests.chaos.lag import LagProbe, Starvation
from tests.chaos.world import marks_of

READY_SECONDS = 0.1  # between two looks at a gateway's readiness
SAMPLE_SECONDS = 0.01


@dataclass(frozen=True)
class Plan:
    gateways: dict[str, int]  # name -> port
    rate: float  # requests a second
    count: int
    seed: int
    first: int = 0  # number of the first request
    client_share: float = 0.1  # of the requests, asked through waypost.client
    deadlines_ms: tuple[int, ...] = (300, 500, 1_000)
    most_k: int = 40

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


class Load:
    def __init__(self, plan: Plan, out: BinaryIO) -> None:
        self._plan, self._out = plan, out
        self._gateways = [Gateway(name, port) for name, port in plan.gateways.items()]
        self._app = App(self._gateways)
        self._choose = random.Random(plan.seed)
        self._lag, self._starvation = LagProbe(), Starvation()
        self._under_way: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def run(self) -> None:
        for gateway in self._gateways:
            await gateway.look()
        chores = [
            asyncio.create_task(chore) for chore in (self._lag.run(), self._look(), self._sample(), self._listen())
        ]
        await self._send_all()
        await asyncio.gather(*self._under_way)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await self._app.close()

    async def _send_all(self) -> None:
        print("begun", flush=True)
        for question in self._schedule():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), max(0.0, question.intended - time.monotonic()))
            if self._over.is_set():
                return
            through_client = self._choose.random() < self._plan.client_share
            task = asyncio.create_task(self._ask_app(question) if through_client else self._ask(question))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    def _schedule(self) -> Iterator[Question]:
        """Arrivals of callers who know nothing of one another."""
        plan, at = self._plan, time.monotonic()
        for number in range(plan.first, plan.first + plan.count):
            at += self._choose.expovariate(plan.rate)
            yield Question(number, at, self._choose.choice(plan.deadlines_ms), self._choose.randint(1, plan.most_k))

    async def _ask(self, question: Question) -> None:
        tried: set[str] = set()
        while (gateway := self._pick(tried)) is not None:
            pid, outcome = gateway.pid, await gateway.ask(question)
            await self._write(question, gateway.name, pid, outcome)
            if outcome.trouble != "refused":
                return
            gateway.ready = False
            tried.add(gateway.name)

    def _pick(self, tried: set[str]) -> Gateway | None:
        others = [gateway for gateway in self._gateways if gateway.name not in tried]
        ready = [gateway for gateway in others if gateway.ready]
        return self._choose.choice(ready or others) if others else None

    async def _ask_app(self, question: Question) -> None:
        await self._write(question, CLIENT, 0, await self._app.ask(question))

    async def _write(self, question: Question, gateway: str, pid: int, outcome: Outcome) -> None:
        await asyncio.sleep(2 * SAMPLE_SECONDS)  # for one more sample of what the machine did meanwhile
        marks, answer = marks_of(question.number), outcome.answer
        asked = Asked(
            number=question.number,
            gateway=gateway,
            intended=question.intended,
            sent=outcome.sent,
            ended=outcome.ended,
            deadline=question.deadline_ms / 1_000,
            user=marks.user,
            k=question.k,
            excluded=marks.excluded,
            status=outcome.status,
            trouble=outcome.trouble,
            lag=self._lag.since(outcome.sent),
            starved=self._starved(pid, outcome),
            retry_after=outcome.retry_after,
            request=answer.get("request_id") or "",
            answered_user=answer.get("user_id", 0),
            source=answer.get("source", ""),
            degraded=answer.get("degraded", False),
            version=answer.get("model_version"),
            posts=tuple(item["post_id"] for item in answer.get("items", ())),
        )
        self._out.write(encode(asked) + b"\n")

    def _starved(self, pid: int, outcome: Outcome) -> float:
        """Of the gateway asked; of a call of the client, of the unluckiest one."""
        pids = [pid] if pid else [gateway.pid for gateway in self._gateways]
        return max(self._starvation.between(each, outcome.sent, outcome.ended) for each in pids)

    async def _look(self) -> None:
        while True:
            for gateway in self._gateways:
                await gateway.look()
            await asyncio.sleep(READY_SECONDS)

    async def _sample(self) -> None:
        while True:
            for gateway in self._gateways:
                self._starvation.sample(gateway.pid)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _listen(self) -> None:
        """Lines such as {"gateway-1": 4711}: the pids; the end of the input is the end of the load."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            pids = orjson.loads(line)
            for gateway in self._gateways:
                gateway.pid = pids[gateway.name]
        self._over.set()


async def _run(plan: Plan, out: BinaryIO) -> None:
    await Load(plan, out).run()


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    gc.freeze()
    gc.disable()  # its pauses would be the gateway's
    with Path(sys.argv[2]).open("wb") as out, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(plan, out))


if __name__ == "__main__":
    main()
