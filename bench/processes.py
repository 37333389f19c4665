"""The outside of a measured process, and rounds of several of them, interleaved."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.progress import say

Answer = dict[str, Any]
ROOT = Path(__file__).parents[1]
OWN = Path(sys.executable)
LEAVING_SECONDS = 60  # a command that is not waited for any more may still run


class Process:
    def __init__(self, python: Path, module: str) -> None:
        self._name = module
        self._process = subprocess.Popen(
            [str(python), "-m", module],
            cwd=ROOT,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._receive()

    def ask(self, command: str, **arguments: Any) -> Answer:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> Answer:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()}; its error stands above")
        answer: Answer = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(LEAVING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def started(python: Path, module: str) -> Iterator[Process]:
    process = Process(python, module)
    try:
        yield process
    finally:
        process.close()


def interleaved(rounds: int, runs: Mapping[str, Callable[[], Answer]], warm_up: bool = True) -> dict[str, list[Answer]]:
    """Every run once per round, in one direction and then in the other; a first round warms up and does not count."""
    answers: dict[str, list[Answer]] = {name: [] for name in runs}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name in list(runs) if number % 2 else reversed(list(runs)):
            answer = runs[name]()
            if number:
                answers[name].append(answer)
                say(f"round {number} of {rounds}  {name}: {answer['seconds']:.3f} s")
    return answers


def median(answers: list[Answer], fact: str = "seconds") -> float:
    return float(statistics.median(answer[fact] for answer in answers))


def timed(run: Callable[[], object]) -> Callable[[], Answer]:
    """For what is measured in this very process."""

    def answer() -> Answer:
        started_at = time.perf_counter()
        run()
        return {"seconds": time.perf_counter() - started_at}

    return answer
