"""Answerer: what the request loop asks of a served release, without Triton, tensors or files around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from waypost.questions import Answer, Question
from waypost.stages import StageTimer


class Answerer(Protocol):
    @property
    def model_version(self) -> int | None:
        """The release's integer; None as long as there is none."""

    @property
    def instead(self) -> Answerer | None:
        """Who answers in its place, for a release on trial, which may hold nobody up; None for a proven one."""

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
        """One answer for each question, in order; times its lookup, tokenize, infer and encode.

        `patience`: seconds that the callers still wait, where it is known. Raises TritonUnavailable, after which the
        same questions may be asked again, or RejectedError when one of them can never be answered.
        """


class Answerers(Protocol):
    """One release, or two while a new one is tried."""

    def share_out(self, request_ids: Sequence[str], may_try: bool = True) -> list[tuple[Answerer, list[int]]]:
        """Who answers which of these requests, by position; every request once. `may_try`: a release on trial too."""

    def unanswered(self) -> None:
        """An answerer raised TritonUnavailable."""
