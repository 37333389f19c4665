"""The dynamic part: load the release in a real Triton under a scratch name and ask the golden questions.

Nothing of it stays in that Triton, and what a killed preflight left there is swept."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from waypost.errors import TritonHung, TritonUnavailable
from waypost.model.signature import Backend, Device, Sizes
from waypost.release.golden import Golden
from waypost.release.preflight.config import CONFIG
from waypost.release.preflight.findings import Finding, finding
from waypost.release.repository import assemble, remove_model
from waypost.release.store import GOLDEN, MODEL
from waypost.release.triton import TritonModel

SCRATCH_PREFIX = "preflight_"
ABANDONED_SECONDS = 3_600  # a scratch model of a killed preflight is swept after this
GOLDEN_SECONDS = 2.0  # for all golden questions in one call, a batch of some thirty; a worker waits 5 s
UNLOAD_SECONDS = 5.0  # it answers before it is done, unless it hangs
GOLDEN_ATTEMPTS = 3  # the first one warms up; the best counts, for the night's machine has other work too


@dataclass(frozen=True)
class ScratchTriton:
    """A Triton that may load a model under a scratch name, and the folder it loads models from."""

    url: str
    repository: Path
    backend: Backend
    device: Device
    timeout_seconds: float  # of one load, and of one answer
    golden_seconds: float = GOLDEN_SECONDS


def check_load(files: Mapping[str, bytes], sizes: Sizes, asked: Golden, triton: ScratchTriton) -> list[Finding]:
    """Findings of a real load and real answers of a release, assembled as a worker would.

    Raises TritonUnavailable when there is no Triton to ask, which says nothing about the release.
    """
    with _scratch_model(triton) as model:
        assemble(triton.repository, 1, files, sizes, triton.backend, triton.device, model.name)
        return _load(model) or _ask(model, 1, asked, triton.golden_seconds)


def check_load_as_it_is(model_folder: Path, version: int, asked: Golden, triton: ScratchTriton) -> list[Finding]:
    """The same of a model's folder in a repository, with its own config.pbtxt and every version that is there."""
    with _scratch_model(triton) as model:
        folder = triton.repository / model.name
        shutil.copytree(model_folder, folder)
        named = text_format.Parse((folder / CONFIG).read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
        named.name = model.name
        (folder / CONFIG).write_text(text_format.MessageToString(named), encoding="utf-8")
        return _load(model) or _ask(model, version, asked, triton.golden_seconds)


@contextmanager
def _scratch_model(triton: ScratchTriton) -> Iterator[TritonModel]:
    """A model of that Triton under a name of this process' own, gone afterwards."""
    sweep_scratch_models(triton.repository)
    name = f"{SCRATCH_PREFIX}{os.getpid()}"
    model = TritonModel(triton.url, triton.timeout_seconds, triton.timeout_seconds, name)
    try:
        model.require_live()
        yield model
    finally:
        _discard(model, triton.repository)


def _load(model: TritonModel) -> list[Finding]:
    try:
        model.load()
    except TritonHung as error:
        return [finding("load-hung", MODEL, error.cause)]
    except TritonUnavailable as error:
        return [finding("load-failed", MODEL, error.cause)]
    return []


def _ask(model: TritonModel, version: int, asked: Golden, limit_seconds: float) -> list[Finding]:
    best = float("inf")
    for _ in range(GOLDEN_ATTEMPTS):
        began = time.monotonic()
        try:
            different = model.golden_difference(version, asked)
        except (TritonUnavailable, ValueError) as error:  # ValueError: shapes and bytes of an answer do not fit
            return [finding("answer-failed", GOLDEN, str(error))]
        if different:
            return [finding("golden-mismatch", GOLDEN, different)]
        best = min(best, time.monotonic() - began)
        if best <= limit_seconds:
            return []
    what = f"{len(asked)} questions took {best * 1000:.0f} ms at best, {limit_seconds * 1000:.0f} ms are allowed"
    return [finding("golden-slow", GOLDEN, what)]


def sweep_scratch_models(repository: Path) -> None:
    """Remove scratch models, and drafts of them, that a killed preflight left behind."""
    for entry in (*repository.glob(f"{SCRATCH_PREFIX}*"), *repository.glob(f".scratch-{SCRATCH_PREFIX}*")):
        if time.time() - entry.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(entry, ignore_errors=True)


def _discard(model: TritonModel, repository: Path) -> None:
    try:
        model.unload(UNLOAD_SECONDS)
    except TritonUnavailable:
        pass  # it never loaded, or that Triton is gone: nothing of the scratch model is left in it
    finally:
        model.close()
        remove_model(repository, model.name)
