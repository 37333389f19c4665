"""The Triton of this pod, made to obey: exactly the wanted versions are loaded and answer, whatever it takes.

Triton's own word counts for nothing here: it says READY over a dead stub and hangs on an empty folder. Proof is a
golden question answered rightly in time. What does not answer is loaded again where Triton knows it no more, and else
restarted with exactly the wanted versions. Which versions are wanted, others decide."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from waypost.clock import Clock, SystemClock
from waypost.errors import CorruptObject, PipelineError, TritonHung, TritonUnavailable
from waypost.model.signature import Backend, Device, Sizes
from waypost.release.golden import Golden
from waypost.release.repository import assemble, keep_only
from waypost.release.triton import TritonModel
from waypost.worker.restarter import Restarter

logger = logging.getLogger(__name__)
CHECK_SECONDS = 1.0  # a golden question takes milliseconds; asked each second, a hung stub is noticed within two
SECOND_CHANCE_SECONDS = 2.0  # before a restart: a machine busy with a load may have been slow for a moment
START_SECONDS = 60.0  # then a start has failed; the embedded Triton needs 0.1 s, one with GPUs far more
UNLOAD_SECONDS = 1.0  # Triton answers an unload before it is done
UNLOAD_TIMEOUT_SECONDS = 3.0
LOAD_PATIENCE_SECONDS = 3.0  # how long a load under way may go on while what is served does not answer
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ModelFolder:
    """Where this pod's Triton loads models from, and how it runs them."""

    path: Path
    backend: Backend
    device: Device


@dataclass(frozen=True, eq=False)
class Installed:
    """A release as far as Triton is concerned."""

    release: str
    version: int
    sizes: Sizes
    golden: Golden


class TritonPod:
    """Safe for use by several threads: changes wait for one another, questions for nothing.

    A caller needs no lock of its own around `load` and `revive`, and should hold none: `revive` may end a load.
    """

    def __init__(
        self, triton: TritonModel, folder: ModelFolder, restarter: Restarter, clock: Clock | None = None
    ) -> None:
        self._triton, self._folder, self._restarter = triton, folder, restarter
        self._clock = clock or SystemClock()
        self._changing = threading.Lock()
        self._present: Sequence[Installed] = ()  # what it was last told to have

    def load(self, new: Installed, files: Mapping[str, bytes], keep: Sequence[Installed]) -> None:
        """Have exactly `keep` and `new` loaded, and the golden questions of `new` answered rightly.

        When that fails or hangs, `new` is gone from disk and `keep` serves again, Triton restarted where need be.
        Raises TritonUnavailable, CorruptObject, or OSError when this pod's disk fails; each after that.
        """
        with self._changing:
            self._have_live()
            try:
                self._install(new, files, keep)
            except (PipelineError, TritonUnavailable, OSError) as error:
                self._present = keep
                self._go_back(keep, hung=isinstance(error, TritonHung))
                raise
            self._present = [*keep, new]

    def end_load(self) -> None:
        """End a load under way, which then goes back to what it was to keep. Raises TritonUnavailable where nobody may
        restart Triton."""
        if self._changing.locked():
            self._restarter.restart()

    def keep_only(self, keep: Sequence[Installed]) -> None:
        """Drop the other versions. Raises TritonUnavailable; from disk they are gone all the same."""
        with self._changing:
            self._present = keep
            self._keep_on_disk(keep)
            if keep:
                self._triton.load()
            else:
                self._triton.unload(UNLOAD_TIMEOUT_SECONDS)

    def check(self, installed: Installed) -> None:
        """Ask one golden question. Raises TritonUnavailable within CHECK_SECONDS, CorruptObject for a wrong answer."""
        self._ask(installed, installed.golden.first(), CHECK_SECONDS)

    def is_live(self) -> bool:
        """Whether a Triton answers at all; says nothing about any model."""
        try:
            self._triton.require_live(CHECK_SECONDS)
        except TritonUnavailable:
            return False
        return True

    def infer(
        self, version: int, inputs: dict[str, NDArray[Any]], timeout_seconds: float | None = None
    ) -> dict[str, NDArray[Any]]:
        """The outputs of that version. Raises TritonUnavailable."""
        return self._triton.infer(version, inputs, timeout_seconds)

    def revive(self, keep: Sequence[Installed]) -> None:
        """Have `keep`, the served one first, answer again, by a restart where need be; their folders lie on disk.

        A load under way is ended when what is served does not answer meanwhile. Raises TritonUnavailable when nothing
        helped; CorruptObject when a version answers wrongly after a restart, too, when its folder is gone from disk,
        or when only the first of `keep` could be had again, which then answers alone.
        """
        trouble = self._trouble_with(keep)
        if trouble is None:
            return
        logger.warning("triton does not answer as it should", extra={"cause": str(trouble)})
        waited = not self._changing.acquire(blocking=False)
        if waited and not self._changing.acquire(timeout=LOAD_PATIENCE_SECONDS):
            logger.warning("a load under way is ended")
            self.end_load()
            self._changing.acquire()
        try:
            wanted = [*keep, *(one for one in self._present if one not in keep)]  # what was loaded meanwhile stays
            trouble = self._trouble_with(wanted) if waited else trouble
            if trouble is not None:
                self._revive(wanted, hung=isinstance(trouble, TritonHung))
        finally:
            self._changing.release()

    def _revive(self, keep: Sequence[Installed], hung: bool) -> None:
        """A server that knows the models no more (it was restarted) is told to load them; one that says READY and does
        not answer is restarted: loading changes nothing, and unloading takes longer and leaves stopped stubs behind."""
        self._require_folders(keep)
        if not hung and self._has_forgotten(keep):
            self._load_all_or_first(keep)
        else:
            try:
                self._restarter.restart()
            except TritonUnavailable as error:
                if hung:
                    raise
                logger.warning("triton cannot be restarted", extra={"cause": str(error)})
                self._unload_and_load(keep)
            else:
                self._load_all_or_first(keep)
        logger.info("triton answers again")

    def _has_forgotten(self, keep: Sequence[Installed]) -> bool:
        """Whether there is a Triton that does not even say READY for all of them."""
        try:
            self._wait_live()
            return not all(self._triton.says_ready(kept.version, CHECK_SECONDS) for kept in keep)
        except TritonUnavailable:
            return False

    def _trouble_with(self, keep: Sequence[Installed]) -> TritonUnavailable | CorruptObject | None:
        """Why one of them does not answer rightly even when given more time."""
        for installed in keep:
            try:
                self._ask(installed, installed.golden.first(), SECOND_CHANCE_SECONDS)
            except (TritonUnavailable, CorruptObject) as error:
                return error
        return None

    def _install(self, new: Installed, files: Mapping[str, bytes], keep: Sequence[Installed]) -> None:
        folder = self._folder
        assemble(folder.path, new.version, files, new.sizes, folder.backend, folder.device, self._triton.name)
        self._keep_on_disk([*keep, new])
        self._triton.load()
        self._ask(new, new.golden)

    def _go_back(self, keep: Sequence[Installed], hung: bool) -> None:
        """After a failed load: the versions of before. A load that hangs blocks every later one until a restart."""
        try:
            self._keep_on_disk(keep)
            if hung:
                self._restarter.restart()
                self._load_all_or_first(keep)
            elif keep:
                self._load_quietly()
                trouble = self._trouble_with(keep)
                if trouble is not None:
                    self._revive(keep, hung=isinstance(trouble, TritonHung))
        except (PipelineError, TritonUnavailable, OSError) as error:  # who asks golden questions notices and revives
            logger.error("triton does not serve the old release after a failed load", extra={"cause": str(error)})

    def _load_quietly(self) -> None:
        """So that Triton forgets a version that is gone from disk; the others need not suffer when it does not."""
        try:
            self._triton.load()
        except TritonUnavailable as error:
            logger.warning("triton did not load again", extra={"cause": str(error)})

    def _load_kept(self, keep: Sequence[Installed]) -> None:
        """Exactly these from disk, proven by a golden question each."""
        self._wait_live()
        self._keep_on_disk(keep)
        if keep:
            self._triton.load()
        for kept in keep:
            self._ask(kept, kept.golden.first())

    def _unload_and_load(self, keep: Sequence[Installed]) -> None:
        """The second best, for a Triton that nobody may restart."""
        self._triton.unload(UNLOAD_TIMEOUT_SECONDS)
        self._clock.sleep(UNLOAD_SECONDS)
        self._load_kept(keep)

    def _load_all_or_first(self, keep: Sequence[Installed]) -> None:
        """Where that fails: the first alone, in a new server. One of the others may be what ends or hangs it."""
        try:
            self._load_kept(keep)
        except (TritonUnavailable, CorruptObject) as error:
            logger.warning("triton does not load what it had loaded", extra={"cause": str(error)})
            self._restarter.restart()
            self._load_kept(keep[:1])
            self._present = keep[:1]
            if len(keep) > 1:
                raise CorruptObject(f"of the loaded releases only {keep[0].release} answers again: {error}") from error

    def _have_live(self) -> None:
        try:
            self._wait_live()
        except TritonUnavailable:
            self._restarter.restart()
            self._wait_live()

    def _wait_live(self) -> None:
        """Wait for a Triton that starts. Raises TritonUnavailable; TritonHung at once when it is there and silent."""
        deadline = self._clock.monotonic() + START_SECONDS
        while True:
            try:
                return self._triton.require_live(CHECK_SECONDS)
            except TritonHung:
                raise
            except TritonUnavailable:
                if self._clock.monotonic() > deadline:
                    raise
            self._clock.sleep(POLL_SECONDS)

    def _ask(self, installed: Installed, golden: Golden, timeout_seconds: float | None = None) -> None:
        different = self._triton.golden_difference(installed.version, golden, timeout_seconds)
        if different:
            raise CorruptObject(f"release {installed.release} answers wrongly in this Triton: {different}")

    def _keep_on_disk(self, keep: Sequence[Installed]) -> None:
        keep_only(self._folder.path, [installed.version for installed in keep], self._triton.name)

    def _require_folders(self, keep: Sequence[Installed]) -> None:
        folder = self._folder.path / self._triton.name
        missing = [kept.version for kept in keep if not (folder / str(kept.version)).is_dir()]
        if missing:
            raise CorruptObject(f"the folders of versions {missing} are gone from {folder}")
