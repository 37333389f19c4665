"""Nemesis: carries out a schedule of faults on a cast, and whatever follows from each: the end of a stop, a restart.

One thread, a heap of things to do; only servers are started aside, which takes seconds. Of several gateways never two
are down at once: callers would have nobody to ask.
"""

from __future__ import annotations

import heapq
import itertools
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tests.chaos.history import Fault
from tests.chaos.hostile import send_hostile
from tests.chaos.link_faults import LinkFault
from tests.chaos.schedule import Step
from tests.chaos.stage import Cast

RESTART_SECONDS = 0.1  # until a supervisor has noticed
LOOK_SECONDS = 0.1  # at a process that was asked to stop
EXIT_SECONDS = 30.0
SLEEP_SECONDS = 0.05


class Nemesis:
    def __init__(self, cast: Cast, trap_port: int, *, paced: bool = False) -> None:
        """`paced`: of several workers, too, one is hurt only while the others serve."""
        self._cast, self._children, self._trap_port, self._paced = cast, cast.children, trap_port, paced
        self._todo: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._servers = ThreadPoolExecutor(4, thread_name_prefix="servers")
        self._starting: list[Future[None]] = []
        self._hostile = itertools.count()

    def play(self, steps: Sequence[Step], begin: float, look: Callable[[], bool], rest: float | None = None) -> None:
        """Until all that was begun is at an end, and `look` says so or, where given, a rest has passed."""
        for step in steps:
            self._at(begin + step.at, lambda step=step: self._begin(step))  # type: ignore[misc]
        busy = time.monotonic()
        while True:
            now, over = time.monotonic(), look()
            if self._todo or not self._all_ready():
                busy = now
            if not self._todo and (over or (rest is not None and now - busy > rest)):
                break
            while self._todo and self._todo[0][0] <= now:
                heapq.heappop(self._todo)[2]()
            time.sleep(SLEEP_SECONDS)
        self._servers.shutdown()
        for started in self._starting:
            started.result()

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._todo, (when, next(self._count), what))

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        self._at(time.monotonic() + seconds, what)

    def _begin(self, step: Step) -> None:
        now = time.monotonic()
        if step.target in self._children.by_name and not self._others_serve(step.target):
            self._in(RESTART_SECONDS, lambda: self._begin(step))
            return
        if "/" in step.target:
            fault = LinkFault(step.kind, step.share, now + step.seconds, step.delay)
            self._cast.proxies.faults(step.target).order(fault)
        elif step.kind == "hostile":
            send_hostile(self._cast, self._trap_port, self._hostile)
        elif step.target in self._children.by_name:
            if not self._hurt_child(step):
                return
        else:
            self._hurt_server(step)
        self._cast.history.add(Fault(now, now + step.seconds, step.kind, step.target))

    def _all_ready(self) -> bool:
        return all(child.ready for child in self._children.by_name.values())

    def _others_serve(self, name: str) -> bool:
        """The others of its sort; callers must have somebody to ask, workers matter only to a paced run."""
        sort = self._cast.gateways if name in self._cast.gateways else self._cast.workers if self._paced else []
        others = [self._children.by_name[other] for other in sort if other != name]
        return all(child.ready and not child.asked for child in others)

    def _hurt_child(self, step: Step) -> bool:
        """False when it was not there to be hurt, and is hurt later."""
        name, child = step.target, self._children.by_name[step.target]
        if not child.running or child.asked or not child.ready:
            self._in(RESTART_SECONDS, lambda: self._begin(step))
            return False
        if step.kind == "stop":
            self._children.stop(name)
            self._in(step.seconds, lambda: self._children.go_on(name))
        elif step.kind == "terminate":
            self._children.terminate(name)
            self._start_when_ended(name, time.monotonic() + EXIT_SECONDS)
        else:
            self._children.kill(name)
            self._in(RESTART_SECONDS, lambda: self._children.start(name))
        return True

    def _start_when_ended(self, name: str, patience: float) -> None:
        if not self._children.by_name[name].running:
            self._children.wait_ended(name)
            self._children.start(name)
        elif time.monotonic() > patience:
            self._children.kill(name)
            self._children.start(name)
        else:
            self._in(LOOK_SECONDS, lambda: self._start_when_ended(name, patience))

    def _hurt_server(self, step: Step) -> None:
        part = self._cast.stage.parts[step.target]
        if step.kind == "reset":
            self._cast.proxies.reset(*self._links_to(step.target))
        elif step.kind == "stop":
            part.send(signal.SIGSTOP)
            self._in(step.seconds, lambda: self._resume(step.target))
        else:
            part.send(signal.SIGKILL)
            if part.kind == "sqs":
                self._cast.box.forget()
            self._starting.append(self._servers.submit(part.ensure))

    def _resume(self, target: str) -> None:
        """It may have been killed meanwhile: a Triton that does not answer is restarted by its worker."""
        try:
            self._cast.stage.parts[target].send(signal.SIGCONT)
        except (ProcessLookupError, AssertionError):
            return

    def _links_to(self, target: str) -> list[str]:
        if target.startswith("triton-"):
            return [f"worker-{target.rpartition('-')[2]}/triton"]
        return [name for name in self._cast.proxies.links if name.endswith(f"/{target}")]
