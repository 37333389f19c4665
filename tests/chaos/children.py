"""Children: the gateways and workers of a stage, as processes that are started, stopped and killed; whatever happens to
one is told to the history, and so is a death that nobody asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.history import History, Process, Starved
from tests.chaos.lag import ThreadStarvation
from waypost.local.asking import answers_ok

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.05
READY_ANSWER_SECONDS = 0.5
READY_SECONDS = 60.0
EXIT_SECONDS = 30.0
STARVED_SECONDS = 0.005  # less is not worth an event


@dataclass
class Child:
    name: str
    verb: str  # gateway or worker
    environ: dict[str, str]
    ready_url: str
    log: Path
    bugs: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    asked: bool = False  # whether its end is wanted
    told: bool = True  # whether its end is in the history

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Children:
    """A context manager. Children start from the thread that made it: they die with that thread."""

    history: History
    by_name: dict[str, Child] = field(default_factory=dict)

    def __enter__(self) -> Children:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="children", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for child in self.by_name.values():
            if child.running:
                os.kill(child.pid, signal.SIGKILL)
            if child.process is not None:
                child.process.wait()

    def start(self, name: str) -> None:
        child = self.by_name[name]
        self._tell(name, "started")
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.child", child.verb, *child.bugs],
                cwd=ROOT, env=child.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        child.ready, child.asked, child.told = False, False, False

    def wait_ready(self, *names: str, seconds: float = READY_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not all(self.by_name[name].ready for name in names):
            late = [child for child in map(self.by_name.__getitem__, names) if not child.ready]
            dead = [child.name for child in late if not child.running]
            assert not dead, f"ended while they started: {dead}, see {late[0].log}"
            assert time.monotonic() < end, f"not ready: {[child.name for child in late]}, see {late[0].log}"
            time.sleep(LOOK_SECONDS)

    def kill(self, name: str) -> None:
        child = self.by_name[name]
        child.asked = True
        self._tell(name, "killed")
        self._signal(child, signal.SIGKILL)
        self.wait_ended(name)

    def terminate(self, name: str) -> None:
        """Ask it to stop; `wait_ended` waits for it."""
        child = self.by_name[name]
        child.asked = True
        self._tell(name, "asked to stop")
        self._signal(child, signal.SIGTERM)

    def wait_ended(self, name: str, seconds: float = EXIT_SECONDS) -> None:
        child = self.by_name[name]
        assert child.process is not None
        child.process.wait(seconds)
        self._note_end(child)

    def stop(self, name: str) -> None:
        self._tell(name, "stopped")
        self._signal(self.by_name[name], signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        self._signal(self.by_name[name], signal.SIGCONT)
        self._tell(name, "continued")

    def _tell(self, name: str, what: str, code: int = 0) -> None:
        self.history.add(Process(time.monotonic(), name, what, code))

    def _signal(self, child: Child, number: signal.Signals) -> None:
        if child.running:
            os.kill(child.pid, number)

    def _note_end(self, child: Child) -> None:
        if not child.told and child.process is not None and child.process.returncode is not None:
            child.told, child.ready = True, False
            self._tell(child.name, "ended" if child.asked else "died", child.process.returncode)

    def _watch(self) -> None:
        starvation = ThreadStarvation()
        while not self._over.wait(LOOK_SECONDS):
            for child in list(self.by_name.values()):
                if child.process is not None:
                    self._look_at(child, starvation)

    def _look_at(self, child: Child, starvation: ThreadStarvation) -> None:
        if child.process is None or child.process.poll() is not None:
            self._note_end(child)
            return
        if not child.ready and answers_ok(child.ready_url, READY_ANSWER_SECONDS):
            child.ready = True
            self._tell(child.name, "ready")
        if child.verb == "worker" and (waited := starvation.look(child.pid)) > STARVED_SECONDS:
            self.history.add(Starved(time.monotonic(), child.name, waited))
