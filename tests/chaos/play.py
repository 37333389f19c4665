"""One run, whole: a cast on its stage, the load, the faults, and the history of it all."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.chaos.children import ROOT
from tests.chaos.history import Event, History, read_events
from tests.chaos.load import Plan
from tests.chaos.nemesis import Nemesis
from tests.chaos.schedule import Step, schedule
from tests.chaos.stage import Bugs, Cast, Stage
from waypost import __version__

END_SECONDS = 30.0
FIRST_SECONDS, LAST_SECONDS = 1.0, 4.0  # without a new fault, at both ends


@dataclass(frozen=True)
class Run:
    """`steps`: in place of a schedule drawn from the seed; `paced`: each waits until the others of its sort serve, and
    the run ends a while after the last one, so `requests` is the most there are."""

    seed: int
    requests: int
    faults: int
    rate: float
    bugs: Bugs = field(default_factory=dict)
    steps: Sequence[Step] | None = None
    last_seconds: float = LAST_SECONDS
    paced: bool = False
    strict: bool = False  # nothing but orderly ends happens, so nothing may be inferred twice

    @property
    def seconds(self) -> float:
        return self.requests / self.rate


def play(stage: Stage, run: Run) -> History:
    history = History({"seed": run.seed, "requests": run.requests, "rate": run.rate, "version": __version__,
                       "bugs": run.bugs, "strict": run.strict})  # fmt: skip
    with stage.cast(run.seed, history, run.bugs) as cast, tempfile.TemporaryDirectory() as folder:
        load = LoadProcess(cast, run, Path(folder))
        steps = run.steps
        if steps is None:
            end = run.seconds - run.last_seconds
            steps = schedule(
                run.seed, run.faults, FIRST_SECONDS, end, cast.gateways, cast.workers, "postgres" in stage.parts
            )
        rest = run.last_seconds if run.paced else None
        Nemesis(cast, cast.proxies.trap(), paced=run.paced).play(steps, time.monotonic(), load.look, rest)
        cast.scrape()
        for event in load.finish():
            history.add(event)
    return history


class LoadProcess:
    """The load generator, kept informed of where the gateways run."""

    def __init__(self, cast: Cast, run: Run, folder: Path) -> None:
        self._cast, self._out, self._pids = cast, folder / "asked.jsonl", dict[str, int]()
        plan = folder / "plan.json"
        Plan(cast.gateway_ports, run.rate, run.requests, run.seed, cast.first_number).save(plan)
        command = [sys.executable, "-m", "tests.chaos.load", str(plan), str(self._out)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.look()
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the load generator failed"  # it has begun

    def look(self) -> bool:
        """Whether it is over; tells it of new processes."""
        pids = {name: self._cast.children.by_name[name].pid for name in self._cast.gateways}
        if self._process.poll() is not None:
            return True
        if pids != self._pids and self._process.stdin is not None:
            self._pids = pids
            self._process.stdin.write(orjson.dumps(pids) + b"\n")
            self._process.stdin.flush()
        return False

    def finish(self) -> list[Event]:
        """What it saw. Raises AssertionError when it failed."""
        _, _ = self._process.communicate(timeout=END_SECONDS)
        assert self._process.returncode == 0, "the load generator failed"
        return list(read_events(self._out))
