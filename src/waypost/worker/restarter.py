"""Restarting Triton: asked of the keeper that runs it (`triton_keeper.py`), by files in the model repository.

The two may live in different containers; what they share is that folder. A keeper that lives holds a lock on
`.keeper/lock`, so that nobody waits for one that is not there."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path
from typing import Protocol

from waypost.clock import Clock, SystemClock
from waypost.errors import TritonUnavailable

ACCEPT_SECONDS = 5.0  # the keeper looks 20 times a second; the server's group needs moments to die of SIGKILL
POLL_SECONDS = 0.02


class Restarter(Protocol):
    def restart(self) -> None:
        """End Triton at once, whatever it does, and start it anew; returns when a new one has been started, which is
        some moments before it answers. Raises TritonUnavailable when that cannot be had."""


class NoKeeper:
    """For a Triton that is not ours to restart."""

    def restart(self) -> None:
        raise TritonUnavailable(
            "Triton hangs or fails and nobody here may restart it", "run it by worker/triton_keeper.py, or restart it"
        )


NO_KEEPER = NoKeeper()


class KeeperFolder:
    """The keeper of the Triton that loads from `repository`."""

    def __init__(self, repository: Path, *, accept_seconds: float = ACCEPT_SECONDS, clock: Clock | None = None) -> None:
        self._folder, self._accept_seconds = repository / ".keeper", accept_seconds
        self._clock = clock or SystemClock()

    def restart(self) -> None:
        if not self._keeper_lives():
            raise TritonUnavailable(
                f"no keeper restarts the Triton of {self._folder.parent}", "run Triton by worker/triton_keeper.py"
            )
        token = uuid.uuid4().hex
        self._ask(token)
        deadline = self._clock.monotonic() + self._accept_seconds
        while self._started() != token:
            if self._clock.monotonic() > deadline:
                raise TritonUnavailable(f"Triton's keeper did not restart it within {self._accept_seconds:.0f} s")
            self._clock.sleep(POLL_SECONDS)

    def _keeper_lives(self) -> bool:
        try:
            with (self._folder / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no keeper ever was here
            return False
        return False

    def _ask(self, token: str) -> None:
        draft = self._folder / f"restart.{os.getpid()}"
        try:
            draft.write_text(token)
            draft.replace(self._folder / "restart")
        except OSError as error:
            raise TritonUnavailable(f"Triton's keeper cannot be asked: {error}") from error

    def _started(self) -> str:
        try:
            return (self._folder / "started").read_text()
        except OSError:
            return ""
