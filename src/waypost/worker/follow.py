"""Follow the pointer: fetch the release it names, verify it, load it into this pod's Triton beside what is served, try
it on a share of the requests, and only then let it answer all of them.

Whatever goes wrong with a new release, the old one goes on answering; one that was loaded and turns out worse is given
up, and the pointer is moved back. The release before stays loaded for a while, so that going back takes one look. The
pointer is looked at during a load too: one that it does not name any more is left, and ended where it is in the way.
Readiness is a right answer to a golden question a moment ago, nothing less."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from waypost.clock import Clock
from waypost.errors import CorruptObject, PipelineError, RetryableError, Superseded, TritonUnavailable
from waypost.metrics import WorkerMetrics
from waypost.objects.bundle import Manifest
from waypost.release import golden
from waypost.release.moves import retreat
from waypost.release.opening import file_of, open_release
from waypost.release.pointer import HeldPointer
from waypost.release.store import GOLDEN, scores_of, version_of
from waypost.stages import StageTimer
from waypost.worker.answerer import Answerer
from waypost.worker.canary import CanaryLimits, Comparison
from waypost.worker.loads import Loads
from waypost.worker.pod import Installed, TritonPod
from waypost.worker.served import CallLimit, Canary, Served, share_out
from waypost.worker.sources import DISK, Loaded, ReleaseSources
from waypost.worker.watch import Left

logger = logging.getLogger(__name__)
REFUSED_RETRY_SECONDS = 30.0  # a release that failed is tried again after this: its files may have been mended
PROBE_VALID_SECONDS = 5.0  # readiness older than this is no readiness


@dataclass(frozen=True)
class FollowerLimits:
    canary: CanaryLimits
    hold_seconds: float  # the release before stays loaded for so long


@dataclass(frozen=True, eq=False)
class Previous:
    """The release before, still loaded."""

    served: Served
    until: float  # on the monotonic clock


class ReleaseFollower:
    def __init__(
        self,
        sources: ReleaseSources,
        pod: TritonPod,
        clock: Clock,
        metrics: WorkerMetrics,
        limits: FollowerLimits,
        name: str,
    ) -> None:
        """`name` is this pod's, for the audit of a pointer that it moves back."""
        self._sources, self._pod, self._clock = sources, pod, clock
        self._loads = Loads(sources, pod)
        self._metrics, self._limits, self._name = metrics, limits, name
        self._served: Served | None = None
        self._canary: Canary | None = None
        self._previous: Previous | None = None
        self._to_keep: str | None = None  # a served release that is not on this pod's disk yet
        self._keep_due = -math.inf  # when to try that again
        self._given_up: tuple[str, str] | None = None  # a release that failed its trial here, why
        self._refused: tuple[str, float] | None = None  # a release that could not be had or loaded, when
        self._answered_at: float | None = None
        self._lost = False  # Triton or its folder no longer has what is served

    @property
    def model_version(self) -> int | None:
        return self._served.version if self._served else None

    @property
    def release(self) -> str | None:
        return self._served.release if self._served else None

    @property
    def on_trial(self) -> bool:
        """Whether a release is tried beside the served one."""
        return self._canary is not None

    def share_out(self, request_ids: Sequence[str], may_try: bool = True) -> list[tuple[Answerer, list[int]]]:
        """Who answers which of these requests; before the first release somebody who raises TritonUnavailable."""
        return share_out(request_ids, self._served, self._canary if may_try else None, self._clock)

    def unanswered(self) -> None:
        """Triton failed a request: none is taken until a golden question is answered again."""
        self._answered_at = None

    def ready(self) -> bool:
        """Whether the served release answered a golden question rightly within the last seconds."""
        answered = self._answered_at
        return answered is not None and self._clock.monotonic() - answered < PROBE_VALID_SECONDS

    def look(self) -> None:
        """One look at the trial and the pointer; never raises for anything that a later look may find mended."""
        self._attempt(
            lambda: self._loads.forget_left([one.installed for one in self._loaded()]),
            "what was left by a load not removed",
        )
        self._attempt(self._judge, "canary not judged")
        self._attempt(self._install_again, "release not installed again")
        self._attempt(self._follow, "release not switched")
        if self._served is None:
            self._attempt(self._start_with_another, "no other release found")
        self._attempt(self._drop_previous, "previous release not unloaded")
        self._attempt(self._keep_on_disk, "release not kept on disk")

    def _attempt(self, step: Callable[[], None], failure: str) -> bool:
        """One step that must not keep the others from being taken."""
        try:
            step()
        except (RetryableError, Left) as error:
            logger.warning(failure, extra={"cause": str(error)})
            return False
        except (PipelineError, OSError) as error:  # OSError: this pod's disk
            logger.error(failure, extra={"cause": str(error)})
            return False
        except Exception:  # nobody foresaw it; the other steps are taken all the same
            logger.exception(failure)
            return False
        return True

    def probe(self) -> None:
        """Ask one golden question, and have Triton revived when it fails.

        Apart from `look`, which may wait long for the store or for a load while the served release goes on answering.
        """
        served = self._served
        if served is None:
            return
        try:
            self._check(served)
        except (TritonUnavailable, CorruptObject) as error:
            self._answered_at = None
            logger.warning("golden question not answered", extra={"cause": str(error)})
            self._revive(served)

    def _check(self, served: Served) -> None:
        self._pod.check(served.installed)
        self._answered_at = self._clock.monotonic()
        self._lost = False

    def _revive(self, served: Served) -> None:
        try:
            self._pod.revive([one.installed for one in self._loaded()])
            self._check(served)
            self._metrics.revivals.inc()
        except TritonUnavailable as error:
            logger.error("triton did not recover yet", extra={"cause": str(error)})
            self._lost = self._pod.is_live()  # it answers, and not with this model: its folder may be damaged
        except CorruptObject as error:
            logger.error("triton does not serve what was loaded", extra={"cause": str(error)})
            self._lost = True

    def _install_again(self) -> None:
        """What is served, from the files on disk or in the store, where Triton's folder has lost it."""
        served = self._served
        if served is None or not self._lost:
            return
        _, files = self._sources.named(served.release)
        for gone in self._loaded()[1:]:
            self._metrics.forget_release(gone.version)
        self._drop_canary()
        self._previous = None
        self._loads.load(served.installed, files, [])
        self._lost, self._answered_at = False, self._clock.monotonic()

    def _loaded(self) -> list[Served]:
        """What Triton has loaded, the served one first."""
        found = [self._served, self._canary and self._canary.served, self._previous and self._previous.served]
        return [served for served in found if served]

    def _judge(self) -> None:
        """Ends a trial whose time is over or whose figures are past a limit."""
        canary, served = self._canary, self._served
        if canary is None or served is None:
            return
        self._compare(canary, served)
        verdict = canary.comparison.verdict()
        if verdict.state == "passed":
            self._pod.check(canary.served.installed)
            self._serve(canary.served, (canary.manifest, dict(canary.files)))
        elif verdict.state == "failed":
            self._given_up = (
                canary.served.release,
                verdict.reason,
            )  # first: a Triton that fails must not make it forget
            self._metrics.release_loads.labels("given up").inc()
            logger.error("canary given up", extra={"release": canary.served.release, "cause": verdict.reason})
            self._end_trial(canary, served)

    def _compare(self, canary: Canary, served: Served) -> None:
        """Some of the questions that the canary answered, asked of the served release too; nobody waits for these."""
        shadows = canary.comparison.take_shadows()
        if shadows:
            answers = served.answerer.answer([shadow.question for shadow in shadows], StageTimer())
            canary.comparison.compared(shadows, answers)

    def _drop_canary(self) -> None:
        if self._canary is not None:
            self._canary.end()
        self._canary = None

    def _end_trial(self, canary: Canary, served: Served) -> None:
        self._drop_canary()
        self._metrics.forget_release(canary.served.version)
        self._pod.keep_only([one.installed for one in self._loaded()])

    def _follow(self) -> None:
        held = self._sources.pointer()
        self._loads.pointed = held.pointer.release if held is not None else None
        if held is None:  # never published, or somebody deleted it: a pod with a release on its disk goes on with that
            return
        if self._served is None and held.pointer.how == "publish":
            # The newest may still be on trial in other pods; here too it is tried beside the one before.
            self._attempt(self._start_with_kept, "kept release not served")
        release, served, canary = held.pointer.release, self._served, self._canary
        if canary is not None and served is not None and canary.served.release != release:
            logger.warning("canary ended: the pointer was moved", extra={"release": canary.served.release})
            self._end_trial(canary, served)
            canary = None
        if canary is not None and held.pointer.how != "publish":  # an operator's word ends its trial
            self._pod.check(canary.served.installed)
            self._serve(canary.served, (canary.manifest, dict(canary.files)))
            return
        if release in (served and served.release, canary and canary.served.release):
            return
        if self._previous is not None and self._previous.served.release == release and self._went_back():
            return
        if served and self._given_up and self._given_up[0] == release and held.pointer.how == "publish":
            self._move_back(held, served.release, self._given_up[1])
        elif not self._refused or self._refused[0] != release or self._retry_due():
            self._take_up(held)

    def _retry_due(self) -> bool:
        return self._refused is None or self._clock.monotonic() - self._refused[1] >= REFUSED_RETRY_SECONDS

    def _move_back(self, held: HeldPointer, proven: str, reason: str) -> None:
        """Every pod that gave it up tries; one of them moves the pointer, if nobody did meanwhile."""
        try:
            why = f"canary given up: {reason}"
            moved = retreat(self._sources.store, held, proven, why, self._name, self._clock)
            logger.warning("pointer moved back", extra={"release": moved.release, "cause": reason})
        except Superseded:
            pass  # another pod did, or an operator

    def _take_up(self, held: HeldPointer) -> None:
        """Fetch, verify, load and prove what the pointer names; then serve it, or try it first."""
        release = held.pointer.release
        try:
            with self._metrics.release_load.time():
                loaded = self._loads.fetch(held.pointer)
                new = self._load(*loaded)
        except Left:
            raise
        except Exception:
            self._refused = (release, self._clock.monotonic())
            self._metrics.release_loads.labels("refused").inc()
            raise
        limits = self._limits.canary
        if self._served is None or not limits.share or held.pointer.how != "publish":
            self._serve(new, loaded)
            return
        self._canary = Canary(new, Comparison(limits, self._clock, self._served.calls), limits.share, *loaded)
        logger.info("canary begun", extra={"release": new.release, "model_version": new.version})

    def _load(self, manifest: Manifest, files: dict[str, bytes]) -> Served:
        """Into Triton, beside the served release and nothing else."""
        new = self._open(manifest, files)
        if self._previous is not None:
            self._metrics.forget_release(self._previous.served.version)
            self._previous = None
        self._loads.load(new.installed, files, [self._served.installed] if self._served else [])
        return new

    def _open(self, manifest: Manifest, files: Mapping[str, bytes]) -> Served:
        version, release = version_of(manifest), str(manifest.facts.get("release"))
        limit = CallLimit()
        answerer = open_release(manifest, files, lambda inputs: self._pod.infer(version, inputs, limit.seconds))
        asked = golden.from_bytes(file_of(files, GOLDEN))
        scores = scores_of(manifest)
        return Served(Installed(release, version, answerer.lookups.sizes, asked), answerer, limit, scores=scores)

    def _serve(self, new: Served, loaded: Loaded | None) -> None:
        """From now on it answers every request; its files come from `loaded`, or from the store later."""
        old = self._served
        self._drop_canary()
        self._served, self._given_up = new, None
        self._previous = Previous(old, self._clock.monotonic() + self._limits.hold_seconds) if old else None
        self._answered_at = self._clock.monotonic()
        self._metrics.release_loads.labels("served").inc()
        self._metrics.switched(old.version if old else None, new.version)
        self._metrics.serves_release(new.version, new.installed.sizes.num_posts, new.scores)
        logger.info("release switched", extra={"release": new.release, "model_version": new.version})
        self._to_keep, self._keep_due = new.release, -math.inf
        if loaded is not None:
            self._sources.keep(*loaded)
            self._to_keep = None

    def _went_back(self) -> bool:
        """To the release before, which is still loaded; False, and it is let go, when it does not answer any more."""
        if self._previous is None:
            return False
        previous = self._previous.served
        try:
            self._pod.check(previous.installed)
        except (TritonUnavailable, CorruptObject) as error:
            logger.warning("the release before does not answer", extra={"cause": str(error)})
            self._previous = None
            self._metrics.forget_release(previous.version)
            return False
        self._serve(previous, None)
        return True

    def _drop_previous(self) -> None:
        previous = self._previous
        if previous is None or self._loads.one_was_left or self._clock.monotonic() < previous.until:
            return
        self._previous = None
        self._metrics.forget_release(previous.served.version)
        self._pod.keep_only([one.installed for one in self._loaded()])

    def _keep_on_disk(self) -> None:
        if self._to_keep is not None and self._clock.monotonic() >= self._keep_due:
            self._keep_due = self._clock.monotonic() + REFUSED_RETRY_SECONDS  # a full disk costs no download every look
            self._sources.keep(*self._sources.named(self._to_keep))
            self._to_keep = None

    def _start_with_kept(self) -> None:
        """What this pod served last, from its own disk, where there is such a release."""
        kept = self._sources.kept()
        if kept is not None and self._pod.is_live():
            self._serve(self._load(*kept), None)
            self._to_keep = None

    def _start_with_another(self) -> None:
        """A pod that serves nothing yet takes the release on its disk, else an older one out of the store."""
        if self._served is not None or not self._pod.is_live():  # without a Triton no release would do
            return
        for where, loaded in self._sources.others():
            try:
                self._serve(self._load(*loaded), None if where == DISK else loaded)
                self._to_keep = None  # it is on this disk now
                logger.warning("serving another release: the one pointed to cannot be had", extra={"from": where})
                return
            except Left:  # the next look knows what is wanted now
                raise
            except (PipelineError, RetryableError, OSError) as error:
                logger.error("release refused", extra={"from": where, "cause": str(error)})
