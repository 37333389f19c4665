"""The request path at saturation, at 50 requests/s and at half its saturation, each beside what it is compared with.

Everything runs on this one machine: the generator, the gateway, the emulator, the worker and Triton share its cores, so
what the emulator and the generator take is told too. Rounds of the path and of its peers take turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.measures import Measure, Section
from bench.processes import OWN, Answer, Process, started
from bench.progress import say
from bench.request_path.bare import Bare, bare_fastapi
from bench.request_path.cpu import CpuClock
from bench.request_path.loads import USUAL_MS, Load, Loader
from bench.request_path.release import POSTS
from bench.request_path.serving import Serving, serving
from waypost.local.aws import REQUEST_QUEUE
from waypost.settings import WorkerSettings

CONCURRENCY = 64
WARM_UP_SECONDS, ROUND_SECONDS, PEER_SECONDS = 4.0, 8.0, 5.0
PACED_RATE, PACED_SECONDS, PACED_ROUNDS = 50.0, 6.0, 2  # 300 requests a round
HALF_SECONDS = 20.0  # some thousands of requests: their 99.9th part is more than a few
MOST_ROUNDS = 4  # of a bench that is to take minutes
CPU_LIMIT_MS, ADDED_LIMIT_MS, P99_LIMIT_MS, OTHERS_LIMIT = 0.6, 15.0, 250.0, 0.001
EMULATOR_POLLS = WorkerSettings().receivers  # a message waits for the first of them to look again
DIRECT, TRITONCLIENT, BARE = "direct gRPC", "tritonclient", "bare FastAPI"


@dataclass(frozen=True)
class Peer:
    """A peer's rate, and what a request costs its client and the one who answers, in ms of processor time."""

    rate: float
    client: float
    server: float


class Bench:
    def __init__(self, served: Serving, stack: ExitStack) -> None:
        def process(module: str) -> Process:
            return stack.enter_context(started(OWN, f"bench.request_path.{module}"))

        self.served, self.generator = served, process("generator")
        self.load, self._direct, self._emulator = Loader(served, self.generator), process("direct"), process("emulator")
        self._bare: Bare = stack.enter_context(bare_fastapi())

    def path(self) -> Load:
        return self.load.closed(CONCURRENCY, ROUND_SECONDS)

    def direct(self) -> Peer:
        return self._triton("lean")

    def tritonclient(self) -> Peer:
        return self._triton("tritonclient")

    def bare(self) -> Peer:
        clock = CpuClock({"bare": self._bare.pid})
        target = {"url": self._bare.url, "users": (1, 20_000), "deadline_ms": USUAL_MS}
        found = self.generator.ask("closed", target=target, concurrency=CONCURRENCY, seconds=PEER_SECONDS)
        return _peer(found, PEER_SECONDS, clock)

    def _triton(self, kind: str) -> Peer:
        url, clock = self.served.stack.triton_url, CpuClock({"triton": self.served.pid("triton")})
        found = self._direct.ask(kind, url=url, concurrency=CONCURRENCY, seconds=PEER_SECONDS)
        assert not found["failed"], f"{found['failed']} direct calls failed"
        return _peer(found, PEER_SECONDS, clock)

    def paced_path(self) -> Answer:
        return self.load.open([(PACED_RATE, PACED_SECONDS)]).found

    def paced_direct(self) -> Answer:
        url = self.served.stack.triton_url
        return self._direct.ask("paced", url=url, rate=PACED_RATE, seconds=PACED_SECONDS)

    def paced_emulator(self) -> Answer:
        """On a queue of its own, beside the one on which the worker waits."""
        stack = self.served.stack
        url = stack.request_queue_url.replace(REQUEST_QUEUE, f"{REQUEST_QUEUE}-dead")
        return self._emulator.ask(
            "paced", endpoint=stack.aws_endpoint_url, queue_url=url, rate=PACED_RATE, seconds=PACED_SECONDS,
            receivers=EMULATOR_POLLS,
        )  # fmt: skip


def measure(interactions: int, rounds: int) -> Section:
    """Of a world of its own, whatever the other one's size."""
    rounds = min(rounds, MOST_ROUNDS)
    with serving() as served, ExitStack() as stack:
        bench = Bench(served, stack)
        bench.load.closed(CONCURRENCY, WARM_UP_SECONDS)
        runs = _turns(rounds, path=bench.path, direct=bench.direct, tritonclient=bench.tritonclient, bare=bench.bare)
        paced = _turns(PACED_ROUNDS, path=bench.paced_path, direct=bench.paced_direct, emulator=bench.paced_emulator)
        half = bench.load.open([(statistics.median(load.rate for load in runs["path"]) / 2, HALF_SECONDS)])
    return section_of(runs, paced, half)


def section_of(runs: dict[str, list[Any]], paced: dict[str, list[Answer]], half: Load) -> Section:
    """`runs` and `paced`: what each of the path and its peers found, a round each."""
    return Section(
        "request-path",
        f"a request's whole way, {POSTS:,} posts",
        (*_saturated(runs["path"], runs), *_paced(paced), *_half(half)),
        rounds=len(runs["path"]),
        notes=(
            f"{CONCURRENCY} requests at a time, k = 20; users who have seen posts; CPU is the processes' own",
            "bare FastAPI takes the same body, validates it and returns one like ours; no queue, no model",
            "direct gRPC: requests written beforehand, answers unread; tritonclient: as a service would call it",
            f"emulator: from the end of a send to the receive that brings it; {EMULATOR_POLLS} polls, as the worker's",
            f"half load: {half.rate:.0f} requests/s, open loop, deadline {USUAL_MS} ms; {_told(half)}",
        ),
    )


def _turns(rounds: int, **runs: Callable[[], Any]) -> dict[str, list[Any]]:
    """Each once a round, in one direction and then in the other."""
    found: dict[str, list[Any]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 else reversed(list(runs)):
            found[name].append(runs[name]())
            say(f"round {number + 1} of {rounds}  {name}: {_shown(found[name][-1])}")
    return found


def _shown(found: Any) -> str:
    if isinstance(found, Load | Peer):
        return f"{found.rate:.0f}/s"
    return f"p50 {1e3 * _latency(found)['p50']:.1f} ms"


def _saturated(path: Sequence[Load], runs: dict[str, list[Any]]) -> list[Measure]:
    peers = {
        name: _median_peer(runs[run])
        for name, run in ((DIRECT, "direct"), (TRITONCLIENT, "tritonclient"), (BARE, "bare"))
    }
    clients = {name: peers[name].client for name in (DIRECT, TRITONCLIENT)}
    tritons = {name: peers[name].server for name in (DIRECT, TRITONCLIENT)}
    own = {part: statistics.median(load.cpu[part] for load in path) for part in path[0].cpu}
    ours = statistics.median(load.our_cpu for load in path)
    cpu = {"0.6 ms": CPU_LIMIT_MS, BARE: peers[BARE].server, **clients}
    rates = {name: peers[name].rate for name in (DIRECT, TRITONCLIENT, BARE)}
    return [
        Measure("CPU of gateway and worker a request", "ms", ours, cpu),
        *(Measure(f"  {part}", "ms", own[part], tritons if part == "triton" else {}) for part in own),
        Measure("answers", "requests/s", statistics.median(load.rate for load in path), rates),
        *(_latency_measure(f"  its {name}", [load.latency[name] for load in path]) for name in ("p50", "p99")),
        Measure("  not graphsage", "share", statistics.median(_others(load) for load in path), {}),
    ]


def _latency_measure(name: str, seconds: Sequence[float]) -> Measure:
    return Measure(name, "ms", 1e3 * statistics.median(seconds), {})


def _paced(paced: dict[str, list[Answer]]) -> list[Measure]:
    p50, p99 = (
        {name: 1e3 * statistics.median(_latency(found)[share] for found in runs) for name, runs in paced.items()}
        for share in ("p50", "p99")
    )
    limit = {"emulator's receive + 15 ms": p50["emulator"] + ADDED_LIMIT_MS}
    peers = {"direct": DIRECT, "emulator": "emulator's receive"}
    return [
        Measure("added p50", "ms", p50["path"] - p50["direct"], limit),
        *(
            Measure(
                f"  {share} at 50 requests/s", "ms", found["path"], {peers[n]: found[n] for n in peers}, compared=False
            )
            for share, found in (("p50", p50), ("p99", p99))
        ),
    ]


def _half(half: Load) -> list[Measure]:
    return [
        Measure("p99 at half load", "ms", 1e3 * half.latency["p99"], {"250 ms": P99_LIMIT_MS}),
        Measure("  its p50", "ms", 1e3 * half.latency["p50"], {}),
        Measure("not graphsage at half load", "share", _others(half), {"0.1 %": OTHERS_LIMIT}),
    ]


def _others(load: Load) -> float:
    return 1 - load.kinds.get("graphsage", 0) / max(1, load.answers)


def _told(load: Load) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(load.kinds.items()))


def _latency(found: Answer) -> dict[str, float]:
    latency: dict[str, float] = found["latency"]
    return latency


def _peer(found: Answer, seconds: float, clock: CpuClock) -> Peer:
    (spent,), answers = clock.read().values(), max(1, found["answers"])
    return Peer(found["answers"] / seconds, 1e3 * found["cpu_seconds"] / answers, 1e3 * spent / answers)


def _median_peer(peers: Sequence[Peer]) -> Peer:
    return Peer(
        *(statistics.median(values) for values in zip(*((p.rate, p.client, p.server) for p in peers), strict=True))
    )
