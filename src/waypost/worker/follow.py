"""Follow the pointer: fetch the release it names, verify it, load it into this pod's Triton, ask the golden
questions, and only then let the worker answer with it.

The release served before stays loaded until the next look, so that a batch begun with it can end. Whatever goes wrong
with a new release, the old one goes on answering. Readiness is a right answer to a golden question a moment ago,
nothing less."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from waypost.clock import Clock
from waypost.errors import CorruptObject, PipelineError, RetryableError, TritonUnavailable
from waypost.metrics import WorkerMetrics
from waypost.model.signature import Backend, Device
from waypost.objects.bundle import Manifest
from waypost.objects.protocols import ObjectStore
from waypost.questions import Answer, Question
from waypost.release import golden
from waypost.release.answering import Answerer
from waypost.release.golden import Golden
from waypost.release.opening import file_of, open_release
from waypost.release.repository import assemble, keep_only
from waypost.release.store import GOLDEN, load_release, read_pointer, version_of
from waypost.release.triton import TritonModel
from waypost.stages import StageTimer
from waypost.worker.kept import load_kept, save_kept

logger = logging.getLogger(__name__)
REFUSED_RETRY_SECONDS = 30.0  # a release that failed is tried again after this: its files may have been mended
UNLOAD_SECONDS = 1.0  # Triton answers an unload before it is done
PROBE_VALID_SECONDS = 10.0  # readiness older than this is no readiness


@dataclass(frozen=True, eq=False)
class Served:
    """A release that this worker may answer with."""

    release: str
    answerer: Answerer
    golden: Golden

    @property
    def version(self) -> int:
        return self.answerer.model_version


@dataclass(frozen=True)
class ModelFolder:
    """Where this pod's Triton loads models from, and how it runs them."""

    path: Path
    backend: Backend
    device: Device


class ReleaseFollower:
    def __init__(
        self,
        store: ObjectStore,
        triton: TritonModel,
        folder: ModelFolder,
        kept: Path,
        clock: Clock,
        metrics: WorkerMetrics,
    ) -> None:
        self._store, self._triton, self._folder, self._kept = store, triton, folder, kept
        self._clock, self._metrics = clock, metrics
        self._served: Served | None = None
        self._previous: int | None = None  # a version that is still loaded, for batches begun with it
        self._refused: tuple[str, float] | None = None  # release id, when
        self._answered_at: float | None = None
        self._loading = threading.Lock()  # a look and a probe never change what Triton has loaded at the same time

    @property
    def served(self) -> Served | None:
        return self._served

    @property
    def model_version(self) -> int | None:
        return self._served.version if self._served else None

    def answer(self, questions: Sequence[Question], stages: StageTimer) -> list[Answer]:
        """The served release's answers. Raises TritonUnavailable, also when nothing is served yet."""
        served = self._served
        if served is None:
            raise TritonUnavailable("no release is loaded yet")
        try:
            return served.answerer.answer(questions, stages)
        except TritonUnavailable:
            self._answered_at = None  # no more messages until a golden question is answered again
            raise

    def ready(self) -> bool:
        """Whether the served release answered a golden question rightly within the last seconds."""
        answered = self._answered_at
        return answered is not None and self._clock.monotonic() - answered < PROBE_VALID_SECONDS

    def look(self) -> None:
        """One look at the pointer; never raises for anything that a later look may find mended."""
        self._drop_previous()
        try:
            self._follow()
        except RetryableError as error:
            logger.warning("release not switched", extra={"cause": str(error)})
            self._start_from_kept()
        except (PipelineError, OSError) as error:  # OSError: this pod's disk
            logger.error("release refused", extra={"cause": str(error)})
            self._start_from_kept()

    def probe(self) -> None:
        """Ask one golden question; a Triton that was restarted knows no model and is told to load it again.

        Apart from `look`, which may wait long for the store or for a load while the served release goes on answering.
        """
        served = self._served
        if served is None:
            return
        try:
            self._ask(served)
        except TritonUnavailable as error:
            self._answered_at = None
            logger.warning("golden question unanswered", extra={"cause": str(error)})
            if self._loading.acquire(blocking=False):  # else a look is loading right now
                try:
                    self._recover(served)
                finally:
                    self._loading.release()

    def _recover(self, served: Served) -> None:
        """Load again; where that changes nothing, unload first: a dead stub leaves its model "loaded" for good."""
        try:
            self._triton.load()
            try:
                self._ask(served)
            except TritonUnavailable:
                self._triton.unload()
                self._clock.sleep(UNLOAD_SECONDS)
                self._triton.load()
                self._ask(served)
        except TritonUnavailable as error:
            logger.warning("triton did not recover yet", extra={"cause": str(error)})

    def _follow(self) -> None:
        held = read_pointer(self._store)
        if held is None:
            return
        release = held.pointer.release
        if self._served is not None and self._served.release == release:
            return
        if self._refused and self._refused[0] == release and not self._retry_due():
            return
        try:
            with self._metrics.release_load.time():
                manifest, files = load_release(self._store, release)
                self._switch(manifest, files)
        except (PipelineError, TritonUnavailable, OSError):
            self._refused = (release, self._clock.monotonic())
            self._metrics.release_loads.labels("refused").inc()
            raise
        self._metrics.release_loads.labels("served").inc()
        save_kept(self._kept, manifest, files)

    def _retry_due(self) -> bool:
        return self._refused is None or self._clock.monotonic() - self._refused[1] >= REFUSED_RETRY_SECONDS

    def _start_from_kept(self) -> None:
        if self._served is not None:
            return
        try:
            kept = load_kept(self._kept)
            if kept is not None:
                self._switch(*kept)
                logger.warning("serving the release kept on disk: the one pointed to cannot be had")
        except (PipelineError, RetryableError, OSError) as error:
            logger.error("kept release refused", extra={"cause": str(error)})

    def _switch(self, manifest: Manifest, files: dict[str, bytes]) -> None:
        served = self._open(manifest, files)
        with self._loading:
            self._load(served, files)
        logger.info("release switched", extra={"release": served.release, "model_version": served.version})
        self._previous = self._served.version if self._served else None
        self._served = served
        self._answered_at = self._clock.monotonic()
        self._metrics.serves_release(served.version)

    def _open(self, manifest: Manifest, files: dict[str, bytes]) -> Served:
        version = version_of(manifest)
        answerer = open_release(manifest, files, lambda inputs: self._triton.infer(version, inputs))
        return Served(str(manifest.facts.get("release")), answerer, golden.from_bytes(file_of(files, GOLDEN)))

    def _load(self, served: Served, files: dict[str, bytes]) -> None:
        """Load beside what is served; when that fails the version goes and Triton is told so."""
        folder, old = self._folder, [self._served.version] if self._served else []
        keep_only(folder.path, old)
        sizes = served.answerer.lookups.sizes
        assemble(folder.path, served.version, files, sizes, folder.backend, folder.device)
        try:
            self._triton.load()
            different = self._triton.golden_difference(served.version, served.golden)
            if different:
                raise CorruptObject(f"release {served.release} answers wrongly in this Triton: {different}")
        except (TritonUnavailable, CorruptObject):
            keep_only(folder.path, old)
            if old:
                self._reload_quietly()
            raise

    def _drop_previous(self) -> None:
        if self._previous is not None and self._served is not None:
            with self._loading:
                keep_only(self._folder.path, [self._served.version])
                self._reload_quietly()
            self._metrics.forget_release(self._previous)
            self._previous = None

    def _reload_quietly(self) -> None:
        try:
            self._triton.load()
        except TritonUnavailable as error:
            logger.warning("triton did not reload", extra={"cause": str(error)})

    def _ask(self, served: Served) -> None:
        different = self._triton.golden_difference(served.version, served.golden.first())
        if different:
            logger.error("golden question answered wrongly", extra={"cause": different})
        self._answered_at = None if different else self._clock.monotonic()
