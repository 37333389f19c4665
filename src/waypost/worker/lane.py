"""Lane: a thread beside the answering ones for what a release on trial answers, so that nobody else waits for it.

It takes one batch at a time and no more: while it is busy the served release answers everything."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

logger = logging.getLogger(__name__)


class Lane:
    """Safe for use by several threads."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._busy = threading.Lock()

    @property
    def free(self) -> bool:
        return not self._busy.locked()

    def offer(self, work: Callable[[], None]) -> bool:
        """Whether it will be done; False, and nothing is done, while other work is."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            self._thread.submit(self._do, work)
        except RuntimeError:  # closed
            self._busy.release()
            return False
        return True

    def close(self, wait: bool = True) -> None:
        """Nothing is taken any more; `wait`: returns once the work under way is done."""
        self._thread.shutdown(wait=wait)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.exception("work in a lane failed")
        finally:
            self._busy.release()
