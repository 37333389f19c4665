"""Heartbeat: extends the visibility of what is in hand for long, so that no other pod answers it meanwhile.

In the ordinary case it does nothing: requests are done with or too late long before half a visibility timeout."""

from __future__ import annotations

import logging
import threading

from waypost.clock import Clock
from waypost.worker.settlement import Settlement

LOOK_SECONDS = 1.0  # a visibility timeout has whole seconds
SLOW_SHARE = 0.5  # of the visibility timeout: leaves the other half for a queue that is slow too
logger = logging.getLogger(__name__)


class Heartbeat:
    def __init__(self, settlement: Settlement, visibility_seconds: int, clock: Clock, look_seconds: float) -> None:
        self._settlement, self._visibility, self._clock = settlement, visibility_seconds, clock
        self._look_seconds, self._stopped = look_seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Extend what is in hand for half of the timeout."""
        self._settlement.extend(self._clock.monotonic() - SLOW_SHARE * self._visibility, self._visibility)

    def _run(self) -> None:
        while not self._stopped.wait(self._look_seconds):
            try:
                self.look()
            except Exception:
                logger.exception("visibility was not extended")
