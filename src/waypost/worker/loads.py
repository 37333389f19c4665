"""Loads: fetching a release and loading it into Triton, watched: the pointer is looked at meanwhile.

When it names another release than at the beginning, what is under way is left. A load that was left may hang for long;
nothing waits for it but the next load, and that not for long: then Triton is restarted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeVar

from waypost.errors import PipelineError, RetryableError, TritonUnavailable
from waypost.release.pointer import Pointer
from waypost.worker.pod import Installed, TritonPod
from waypost.worker.sources import Loaded, ReleaseSources
from waypost.worker.watch import Left, Work, watched

LEFT_PATIENCE_SECONDS = 3.0  # how long a load that nobody wants any more may hold up another one
LEFT_END_SECONDS = 60.0  # for a load that was ended to have put back what was served before it
logger = logging.getLogger(__name__)
T = TypeVar("T")


class Loads:
    """For use by one thread. `pointed` is the release that the pointer named at the last look."""

    def __init__(self, sources: ReleaseSources, pod: TritonPod) -> None:
        self._sources, self._pod = sources, pod
        self.pointed: str | None = None
        self._left: Work[None] | None = None  # it is not wanted any more and has not ended

    @property
    def one_was_left(self) -> bool:
        """Then the pod lets nothing else be changed."""
        return self._left is not None

    def fetch(self, pointer: Pointer) -> Loaded:
        """The release that the pointer names. Raises what the sources raise, and Left."""
        return self._watched(Work("fetch", lambda: self._sources.pointed_to(pointer)))

    def load(self, new: Installed, files: Mapping[str, bytes], keep: Sequence[Installed]) -> None:
        """Raises what the pod raises, and Left when the pointer was moved meanwhile: the load may then go on; or when
        one that was left before stands in the way and cannot be ended."""
        self._end_left()
        work = Work("load", lambda: self._pod.load(new, files, keep))
        try:
            self._watched(work)
        except Left:
            self._left = work
            raise

    def forget_left(self, keep: Sequence[Installed]) -> None:
        """Once the load that was left has ended: what it loaded, if it did, is nobody's. Raises TritonUnavailable."""
        if self._left is not None and self._left.wait(0):
            self._left = None
            self._pod.keep_only(keep)

    def _end_left(self) -> None:
        left = self._left
        if left is not None and not left.wait(LEFT_PATIENCE_SECONDS):
            logger.warning("a load that is not wanted any more is ended")
            try:
                self._pod.end_load()
            except TritonUnavailable as error:
                raise Left(f"a load that is not wanted any more cannot be ended: {error}") from error
            if not left.wait(LEFT_END_SECONDS):
                raise Left("a load that was ended does not end", "restart this pod's Triton")
        self._left = None

    def _watched(self, work: Work[T]) -> T:
        pointed = self.pointed
        return watched(work, lambda: pointed is None or self._still_names(pointed))

    def _still_names(self, release: str) -> bool:
        try:
            held = self._sources.pointer()
        except (PipelineError, RetryableError):  # nobody said otherwise
            return True
        return held is None or held.pointer.release == release
