"""Triton, and whether the model in it answers the pointed-to release's golden questions: READY alone proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from waypost.doctor.findings import Finding, bad, ok, skipped
from waypost.doctor.handed import Handed
from waypost.doctor.looking import Look, Part
from waypost.release import golden
from waypost.release.triton import TritonModel

TRITON, MODEL = "triton", "model"
CALL_SECONDS = 2.0  # an answer takes 10 ms; a server that was stopped takes the call and says nothing
RELEASE_SECONDS = 3.0  # until the release's golden questions are there
FIX = "see its log; a worker restarts a Triton that hangs, `waypost local up` one that is gone"
MODEL_FIX = "see the log of the worker, which loads it and asks the same; or serve another: `waypost release rollback`"


def model_look(triton_url: str, handed: Handed) -> Look:
    def find() -> Iterator[Finding]:
        with closing(TritonModel(triton_url, CALL_SECONDS, CALL_SECONDS)) as model:
            model.require_live()
            yield ok(TRITON, f"is live at {triton_url}")
            yield _answers(model, handed)

    seconds = CALL_SECONDS + 1.0
    return Look((Part(TRITON, seconds, FIX), Part(MODEL, RELEASE_SECONDS + CALL_SECONDS, MODEL_FIX)), find)


def _answers(model: TritonModel, handed: Handed) -> Finding:
    """Raises TritonUnavailable when that version is not loaded, or says nothing."""
    asked = handed.wait(RELEASE_SECONDS)
    if asked is None:
        return skipped(MODEL, "the golden questions of the pointed-to release could not be had")
    questions = golden.from_bytes(asked.golden)
    difference = model.golden_difference(asked.version, questions)
    if difference:
        return bad(MODEL, f"version {asked.version} answers wrongly: {difference}", MODEL_FIX)
    return ok(MODEL, f"version {asked.version} answers all {len(questions)} golden questions rightly")
