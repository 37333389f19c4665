from typing import Any

import numpy as np
import pytest

from waypost.errors import GateRefused
from waypost.model.evaluation import Scores
from waypost.trainer.gate import MIN_USERS, GateDecision, decide, require_accepted
from waypost.trainer.holdout import HoldoutReport, K


def a_report(users: int = 200, gain: float = 0.1, **changes: Any) -> HoldoutReport:
    """A healthy model, `gain` better than popularity for everybody."""
    base = np.random.default_rng(0).random(users) * 0.2 + 0.2
    facts: dict[str, Any] = {
        "users": np.arange(users, dtype=np.int32),
        "lists": np.zeros((users, K), np.int32),
        "model": Scores(base + gain, base + gain),
        "popularity": Scores(base, base),
        "finite": True,
        "spread": 0.8,
        "same_list_share": 0.01,
        "temporal": True,
    }
    return HoldoutReport(**{**facts, **changes})


def test_a_healthy_model_is_accepted() -> None:
    decision = decide(a_report())
    assert decision.accepted
    assert "+0.1000" in decision.reason


@pytest.mark.parametrize(
    ("report", "word"),
    [
        (a_report(finite=False), "NaN"),
        (a_report(spread=0.0), "spread"),
        (a_report(same_list_share=0.9), "90% of the users"),
        (a_report(gain=-0.05), "recall@20"),
    ],
)
def test_a_bad_model_is_refused_and_told_why(report: HoldoutReport, word: str) -> None:
    decision = decide(report)
    assert not decision.accepted
    assert word in decision.reason


def test_a_difference_that_chance_explains_does_not_refuse() -> None:
    choose = np.random.default_rng(1)
    model, popular = choose.random(60), choose.random(60)
    worse = model - (model.mean() - popular.mean()) - 0.001
    assert decide(a_report(users=60, model=Scores(worse, worse), popularity=Scores(popular, popular))).accepted


def test_a_holdout_too_small_to_judge_passes_on_sanity_alone_and_says_so() -> None:
    decision = decide(a_report(users=MIN_USERS - 1, gain=-0.1, same_list_share=1.0))
    assert decision.accepted
    assert "sanity checks alone" in decision.reason
    assert not decide(a_report(users=3, finite=False)).accepted


def test_a_refusal_is_one_line_and_exits_with_3() -> None:
    with pytest.raises(GateRefused, match="below") as caught:
        require_accepted(GateDecision(False, "recall@20 is below"))
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
