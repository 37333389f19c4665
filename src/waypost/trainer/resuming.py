"""Training states in the store, so that a night that was killed goes on where it was: `progress/<key>/<step>/`.

The key is a digest of everything that the numbers depend on: graph, cut, settings, seed, phase, code. A night of other
data or other code never finds this one's states. A state is a bundle, written by a thread of its own while training
goes on, one at a time; the two newest stay until the night is over, so that a damaged one costs half a minute more and
not the night. The clock decides when a state is kept and changes no number.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

import waypost
from waypost.clock import Clock, SystemClock
from waypost.errors import CorruptObject, StoreUnavailable
from waypost.objects.bundle import MANIFEST, load_files, load_manifest, put_or_heal, save_bundle
from waypost.objects.protocols import ObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.loop import CurvePoint, SavedState, TrainingState, put_back, saved

logger = logging.getLogger(__name__)
PREFIX = "progress"
FORMAT = 1
EVERY_SECONDS = 30.0  # a killed run loses this, and what the write and the start take: less than a minute
KEPT_STATES = 2
MARK = "unfinished.json"  # beside a training's states; see unfinished.py
_WHO = {"format", "settings", "code", "torch"}  # among a night's facts
STRAY_SECONDS = 24 * 3600.0  # no night takes so long
_WEIGHTS, _MOMENTS = "weights.safetensors", "moments.safetensors"
_STEP = re.compile(rf"{PREFIX}/[0-9a-f]+/(\d{{9}})/{re.escape(MANIFEST)}")
# Settings that change how a night is read, watched or judged, and no weight. Any other one is part of the key.
_BESIDE = re.compile(
    r"(connections|server_workers|statement_timeout_seconds|threads|holdout_users|gate_.*|gating_.*|baselines|contract.*|metrics_.*)"
)


class NightProgress:
    """The states of one night, phase by phase."""

    def __init__(
        self,
        store: ObjectStore,
        facts: Mapping[str, Any],
        clock: Clock | None = None,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        """`facts`: whatever the numbers depend on, as JSON; see `facts_of`."""
        self._store, self._facts, self._clock = store, dict(facts), clock or SystemClock()
        self._every_seconds = every_seconds
        self._mark = Mark(str(facts.get("fingerprint", "")), identity_of(facts))
        self._phases: list[KeptStates] = []

    def phase(self, name: str, start: str = "") -> KeptStates:
        """The keeper of one training of the night; `start` names the weights it starts from, a checkpoint's name."""
        key = _digest({**self._facts, "phase": name, "start": start})
        self._phases.append(KeptStates(self._store, key, self._clock, self._every_seconds, self._mark))
        return self._phases[-1]

    def leave(self) -> None:
        """The night ends without a checkpoint, refused or on trial: the next one reads a graph of its own.

        The states stay for a day, for the same night run again with other words. Never raises.
        """
        try:
            for phase in self._phases:
                phase.unmark()
        except StoreUnavailable as error:
            logger.warning("training states still marked as unfinished", extra={"cause": str(error)})

    def forget(self) -> None:
        """The night is over: nobody needs its states, nor strays of nights that died. Never raises."""
        try:
            for phase in self._phases:
                phase.remove()
            sweep_strays(self._store, self._clock.now())
        except StoreUnavailable as error:
            logger.warning("training states not removed", extra={"cause": str(error)})


@dataclass(frozen=True)
class Mark:
    """Beside the states of a night under way: what a night started in its place needs, to go on with its graph."""

    fingerprint: str
    identity: str

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()


def identity_of(facts: Mapping[str, Any]) -> str:
    """Of the nights that could go on with each other's states, if only their graphs were the same."""
    return _digest({name: facts[name] for name in sorted(facts) if name in _WHO})


def facts_of(fingerprint: str, cut: Mapping[str, Any], settings: TrainerSettings) -> dict[str, Any]:
    """What a night's training depends on; `cut` says how the holdout was cut off."""
    return {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "cut": dict(cut),
        "settings": settings_that_matter(settings),
        "code": f"{waypost.__version__} {code_digest()}",
        "torch": torch.__version__,
    }


def settings_that_matter(settings: TrainerSettings) -> dict[str, Any]:
    """Those that weights depend on, as JSON."""
    return {name: value for name, value in settings.model_dump(mode="json").items() if not _BESIDE.fullmatch(name)}


@cache
def code_digest() -> str:
    """Of the source of everything that training computes with: a changed constant is another run."""
    package, digest = Path(waypost.__file__).parent, hashlib.sha256()
    for path in sorted(path for folder in ("trainer", "model") for path in (package / folder).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class KeptStates:
    """The StateKeeper of one training (loop.py)."""

    def __init__(self, store: ObjectStore, key: str, clock: Clock, every_seconds: float, mark: Mark) -> None:
        self._mark, self._marked = mark, False
        self._store, self._where, self._clock, self._every = store, f"{PREFIX}/{key}", clock, every_seconds
        self._saved_at = clock.monotonic()
        self._writer: threading.Thread | None = None

    def restore(self, state: TrainingState) -> None:
        for step in self._steps():
            try:
                put_back(state, self._load(step))
            except CorruptObject as error:
                logger.warning("kept training state refused", extra={"step": step, "cause": str(error)})
                _delete(self._store, [info.key for info in self._store.list(f"{self._where}/{step:09d}/")])
            else:
                break
        self._saved_at = self._clock.monotonic()

    def step_done(self, state: TrainingState) -> None:
        writing = self._writer is not None and self._writer.is_alive()
        if not writing and self._clock.monotonic() - self._saved_at >= self._every:
            self._write(state)

    def finish(self, state: TrainingState) -> None:
        """What was trained stays trained, whatever becomes of the rest of the night."""
        self._wait()
        self._write(state)

    def unmark(self) -> None:
        """Raises StoreUnavailable."""
        self._wait()
        self._store.delete([f"{self._where}/{MARK}"])

    def remove(self) -> None:
        """All states of this training. Raises StoreUnavailable."""
        self._wait()
        _delete(self._store, [info.key for info in self._store.list(f"{self._where}/")])

    def _write(self, state: TrainingState) -> None:
        self._saved_at = self._clock.monotonic()
        self._writer = threading.Thread(target=self._save, args=(saved(state),), name="training-state")
        self._writer.start()

    def _wait(self) -> None:
        if self._writer is not None:
            self._writer.join()

    def _save(self, state: SavedState) -> None:
        """A state that cannot be kept is no reason to lose the night."""
        files = {_WEIGHTS: safetensors.save(dict(state.weights)), _MOMENTS: safetensors.save(dict(state.moments))}
        facts = {"format": FORMAT, "step": state.step, "curve": [list(point) for point in state.curve]}
        try:
            save_bundle(self._store, f"{self._where}/{state.step:09d}", files, facts)
            if not self._marked:
                put_or_heal(self._store, f"{self._where}/{MARK}", self._mark.to_bytes())
                self._marked = True
            self._remove_older()
        except Exception as error:  # whatever it is: the store is away, or the process is about to end
            cause = str(error) or type(error).__name__
            logger.warning("training state not kept", extra={"step": state.step, "cause": cause})

    def _remove_older(self) -> None:
        kept = {f"{step:09d}" for step in self._steps()[:KEPT_STATES]}
        listed = [info.key for info in self._store.list(f"{self._where}/")]
        _delete(self._store, [key for key in listed if key.split("/")[2] not in {*kept, MARK}])

    def _steps(self) -> list[int]:
        """Of the kept states, newest first."""
        found = (_STEP.fullmatch(info.key) for info in self._store.list(f"{self._where}/"))
        return sorted((int(match.group(1)) for match in found if match), reverse=True)

    def _load(self, step: int) -> SavedState:
        """Raises CorruptObject."""
        prefix = f"{self._where}/{step:09d}"
        manifest = load_manifest(self._store, prefix)
        if manifest is None:
            raise CorruptObject(f"{prefix} is gone")
        files = load_files(self._store, prefix, manifest)
        facts = manifest.facts
        try:
            if facts["format"] != FORMAT or facts["step"] != step:
                raise ValueError("format or step")
            return SavedState(
                weights=safetensors.load(files[_WEIGHTS]),
                moments=safetensors.load(files[_MOMENTS]),
                step=step,
                curve=[CurvePoint(int(number), float(loss)) for number, loss in facts["curve"]],
            )
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CorruptObject(f"{prefix} is no training state: {type(error).__name__} {error}") from None


def sweep_strays(store: ObjectStore, now: float) -> None:
    """Remove the states of nights that died and were not started again. Raises StoreUnavailable."""
    folders: dict[str, list[str]] = {}
    newest: dict[str, float] = {}
    for info in store.list(f"{PREFIX}/"):
        folder = info.key.split("/")[1]
        folders.setdefault(folder, []).append(info.key)
        newest[folder] = max(newest.get(folder, 0.0), info.modified_at)
    old = [folder for folder, written_at in newest.items() if now - written_at > STRAY_SECONDS]
    _delete(store, [key for folder in old for key in folders[folder]])
    if old:
        logger.info("training states of dead nights swept", extra={"nights": len(old)})


def _delete(store: ObjectStore, keys: list[str]) -> None:
    """Manifests first: killed in between, what is left is no state."""
    for is_manifest in (True, False):
        store.delete([key for key in keys if key.endswith(f"/{MANIFEST}") == is_manifest])


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
