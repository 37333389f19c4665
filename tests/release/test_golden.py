"""Golden questions as read back: whole and finite, or refused; anything else would be equal to any answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.factories import a_release
from waypost.errors import CorruptObject
from waypost.release import golden
from waypost.release.store import GOLDEN


def changed(**changes: Any) -> bytes:
    return json.dumps({**json.loads(a_release()[0][GOLDEN]), **changes}).encode()


def test_what_was_written_comes_back() -> None:
    asked = golden.from_bytes(a_release()[0][GOLDEN])
    outputs: dict[str, Any] = {"post_index": asked.post_index, "score": asked.score}
    assert golden.difference(golden.from_bytes(golden.to_bytes(asked)), outputs) == ""


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    scores = json.loads(a_release()[0][GOLDEN])["score"]
    scores[-1][3] = score
    with pytest.raises(CorruptObject, match="without a score"):
        golden.from_bytes(changed(score=scores))


@pytest.mark.parametrize(
    "change",
    [
        {"score": [[0.5]]},
        {"score": [[1e300]]},
        {"post_index": []},
        {"post_index": [1, 2]},
        {"post_index": None},
        {"post_index": [[10**30]]},
        {"inputs": {}},
    ],
)
def test_questions_and_answers_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptObject):
        golden.from_bytes(changed(**change))
