"""A load on the gateway with what it cost every process, in processor time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.processes import Answer, Process
from bench.request_path.cpu import CpuClock
from bench.request_path.release import FIRST_USER, USERS
from bench.request_path.serving import Serving
from waypost.local.layout import PartName

MEASURED: tuple[PartName, ...] = ("gateway", "worker", "triton", "aws")
OURS = ("gateway", "worker")
GENERATOR = "generator"
PATIENT_MS, USUAL_MS = 2_000, 250  # deadlines: of who measures throughput, and the default of every request


@dataclass(frozen=True)
class Load:
    """One load. `latency` in seconds by percentile, from the intended send times."""

    answers: int
    rate: float  # answers/s
    kinds: Mapping[str, int]
    latency: Mapping[str, float]
    cpu: Mapping[str, float]  # ms of processor time an answer: gateway, worker, triton, aws and the generator itself
    found: Answer

    @property
    def our_cpu(self) -> float:
        return sum(self.cpu[part] for part in OURS)


class Loader:
    """The generator's process and the parts it loads."""

    def __init__(self, served: Serving, generator: Process, varied: bool = False) -> None:
        self._served, self._generator, self._varied = served, generator, varied

    def closed(self, concurrency: int, seconds: float, deadline_ms: int = PATIENT_MS) -> Load:
        return self._measured("closed", deadline_ms, seconds, {"concurrency": concurrency, "seconds": seconds})

    def open(self, phases: Sequence[tuple[float, float]], deadline_ms: int = USUAL_MS) -> Load:
        """`phases`: requests/s and seconds of each."""
        return self._measured("open", deadline_ms, sum(seconds for _, seconds in phases), {"phases": phases})

    def _measured(self, kind: str, deadline_ms: int, seconds: float, load: Mapping[str, Any]) -> Load:
        clock = CpuClock({part: self._served.pid(part) for part in MEASURED})
        users = (FIRST_USER, FIRST_USER + USERS - 1)
        target = {
            "url": self._served.gateway_url, "users": users, "deadline_ms": deadline_ms, "varied": self._varied,
        }  # fmt: skip
        found = self._generator.ask(kind, target=target, **load)
        spent = {**clock.read(), GENERATOR: found["cpu_seconds"]}
        answers = max(1, found["answers"])
        cpu = {name: 1e3 * value / answers for name, value in spent.items()}
        return Load(found["answers"], found["answers"] / seconds, found["kinds"], found["latency"], cpu, found)
