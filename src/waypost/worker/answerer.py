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

    def answer(self, questions: Sequence[Question], stages: StageTimer) -> list[Answer]:
        """One answer for each question, in order; times its lookup, tokenize, infer and encode.

        Raises TritonUnavailable, after which the same questions may be asked again, or RejectedError when one of them
        can never be answered.
        """


class Answerers(Protocol):
    """One release, or two while a new one is tried."""

    def share_out(self, request_ids: Sequence[str]) -> list[tuple[Answerer, list[int]]]:
        """Who answers which of these requests, by position; every request once."""

    def unanswered(self) -> None:
        """An answerer raised TritonUnavailable."""
