"""What the gate says of reports; what it says of ruined models is in tests/gate."""

from dataclasses import replace

import numpy as np
import pytest

from tests.factories import some_tables, some_tensors
from tests.trainer.reports import a_report, with_ranking
from waypost.errors import GateRefused, UsageError
from waypost.settings import TrainerSettings
from waypost.trainer.checks import CHECKS, Override, to_override
from waypost.trainer.comparing import Pairing, compare_all, deviations_for, gains_of
from waypost.trainer.gate import (
    MIN_USERS,
    GateDecision,
    decide,
    require_accepted,
    require_sane,
    same_list_share,
)
from waypost.trainer.holdout import MODEL, SERVED, HoldoutReport, K
from waypost.trainer.leak import LeakProbe
from waypost.trainer.segments import NEW_POSTS, NEW_USERS, within

SETTINGS = TrainerSettings()


def checks_of(decision: GateDecision) -> list[str]:
    return [finding.check for finding in decision.findings]


def decided(report: HoldoutReport, *accept: str) -> GateDecision:
    return decide(report, SETTINGS, Override(accept, "they are to", "me") if accept else None)


def test_a_healthy_model_is_accepted_and_its_gain_is_told() -> None:
    decision = decided(a_report(served=0.02))
    assert decision.accepted
    assert "recall@20 0.4992 is +0.0200 ± 0.0" in decision.reason
    assert "against served's" in decision.reason


@pytest.mark.parametrize(
    ("report", "check", "by_how_much"),
    [
        (a_report(finite=False), "not-finite", "NaN"),
        (a_report(spread=0.001), "collapsed", "is 0.001, below 0.01"),
        (with_ranking(a_report(), MODEL, lists=np.zeros((400, K), np.int32)), "same-lists", "100% of the known users"),
        (a_report(leak=LeakProbe(np.full(400, 0.95), np.full(400, 0.95))), "leaking", "5.0% from the top"),
        (with_ranking(a_report(), MODEL, coverage=0.005), "coverage", "show 0.50% of the posts"),
        (with_ranking(a_report(), MODEL, coverage=0.06), "coverage", "hardly more than popularity's 5.00%"),
        (with_ranking(a_report(served=0.0), MODEL, coverage=0.25), "coverage", "less than half of served's 60.00%"),
        (a_report(gain=-0.1), "below-popularity", "against popularity's 0.2"),
        (a_report(served=-0.1), "below-served", ", ndcg@20 "),
        (a_report(served={NEW_POSTS: -0.1}), "below-served:new-posts", "is -0.0"),
    ],
)
def test_a_bad_model_is_refused_by_a_check_that_says_by_how_much(
    report: HoldoutReport, check: str, by_how_much: str
) -> None:
    decision = decided(report)
    assert not decision.accepted
    assert check in checks_of(decision)
    assert by_how_much in next(finding.what for finding in decision.findings if finding.check == check)


def test_a_difference_that_chance_explains_does_not_refuse() -> None:
    report = decided(a_report(gain=-0.005, served=-0.005))
    assert report.comparisons[0].difference < 0
    assert report.accepted


def test_a_first_release_is_judged_against_popularity_and_says_that_nothing_was_served() -> None:
    decision = decided(a_report())
    assert decision.accepted
    assert {comparison.reference for comparison in decision.comparisons} == {"popularity"}
    assert "no served model" in decision.reason


def test_popularity_gates_over_all_users_and_in_no_segment() -> None:
    report = a_report(served=0.0)
    decision = decided(report)
    assert {it.segment for it in decision.comparisons if it.reference == "popularity"} == {"all"}
    assert {it.segment for it in decision.comparisons if it.reference == SERVED} == set(report.judged)


def test_another_baseline_gates_where_a_setting_names_it() -> None:
    report = a_report(served=-0.2)
    rankings = dict(report.rankings)
    report = replace(report, rankings={**rankings, "ease": rankings.pop(SERVED), **rankings})
    report = replace(report, rankings={name: it for name, it in report.rankings.items() if name != SERVED})
    assert decide(report, SETTINGS).accepted
    assert checks_of(decide(report, TrainerSettings(gating_baselines="ease"))) == ["below-ease"]


def test_a_gating_baseline_that_could_not_be_made_gates_nothing() -> None:
    assert decide(a_report(), TrainerSettings(gating_baselines="ease")).accepted


def test_a_segment_of_few_users_is_not_compared() -> None:
    decision = decided(a_report(users=180, served=0.0))
    assert decision.accepted
    assert NEW_USERS not in {comparison.segment for comparison in decision.comparisons}


def test_newcomers_may_all_get_one_list() -> None:
    report = a_report()
    lists = report.lists.copy()
    lists[:100] = lists[0]
    assert same_list_share(with_ranking(report, MODEL, lists=lists)) < 0.1
    lists[:300] = lists[0]
    assert same_list_share(with_ranking(report, MODEL, lists=lists)) > 0.6


def test_who_is_no_better_than_popularity_has_not_cheated() -> None:
    alike = LeakProbe(np.full(400, 0.7), np.full(400, 0.7))
    assert checks_of(decided(a_report(gain=-0.1, leak=alike))) == ["below-popularity"]


def test_few_probed_users_prove_no_leak() -> None:
    choose = np.random.default_rng(0)

    def alike(users: int) -> LeakProbe:
        return LeakProbe(1 - choose.exponential(0.10, users), 1 - choose.exponential(0.12, users))

    assert "leaking" not in checks_of(decided(a_report(leak=alike(60))))
    assert "leaking" in checks_of(decided(a_report(leak=alike(2_000))))


def test_who_is_below_the_served_model_has_not_cheated_either() -> None:
    alike = LeakProbe(np.full(400, 0.7), np.full(400, 0.7))
    assert "leaking" in checks_of(decided(a_report(leak=alike)))
    assert "leaking" not in checks_of(decided(a_report(served=-0.1, leak=alike)))


def test_a_holdout_too_small_to_judge_passes_on_sanity_alone_and_says_so() -> None:
    decision = decided(a_report(users=MIN_USERS - 1, gain=-0.1, served=-0.3))
    assert decision.accepted
    assert "49 holdout users are fewer than 50: sanity checks alone" in decision.reason
    assert not decided(a_report(users=3, finite=False)).accepted
    assert decided(a_report(users=0)).accepted


def test_a_refusal_is_one_line_that_names_every_check_and_the_way_out() -> None:
    with pytest.raises(GateRefused) as caught:
        require_accepted(decided(a_report(gain=-0.1, spread=0.0)))
    line = str(caught.value)
    assert caught.value.exit_code == 3
    assert "\n" not in line
    assert "collapsed: " in line
    assert "below-popularity: " in line
    assert '--accept collapsed below-popularity --reason "why"' in line


def test_an_operator_lets_a_check_pass_by_name_and_no_other() -> None:
    report = a_report(gain=-0.1, spread=0.0)
    assert not decided(report, "collapsed").accepted
    with pytest.raises(GateRefused, match=r"^the quality gate refused the model: below-popularity"):
        require_accepted(decided(report, "collapsed"))
    decision = decided(report, "collapsed", "below-popularity")
    assert decision.accepted
    assert "let pass" in decision.reason
    assert not decided(a_report(served={NEW_POSTS: -0.1}), "below-served").accepted


def test_what_was_let_pass_why_and_by_whom_stands_in_the_facts() -> None:
    facts = decided(a_report(gain=-0.1), "below-popularity").facts()
    assert facts["accepted"]
    assert facts["override"] == {"checks": ("below-popularity",), "reason": "they are to", "by": "me"}
    assert facts["findings"][0]["overridden"]


def test_nobody_lets_an_infinite_model_pass() -> None:
    assert not decided(a_report(finite=False), "not-finite").accepted
    with pytest.raises(UsageError, match="not-finite cannot be let pass"):
        to_override(["not-finite"], "why not", "me")


def test_an_override_names_checks_that_there_are_and_says_why() -> None:
    with pytest.raises(UsageError, match=r"no check below-srved; .*below-served:new-posts") as caught:
        to_override(["below-srved"], "why", "me")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="--reason"):
        to_override(["coverage"], "  ", "me")
    with pytest.raises(UsageError, match="--accept"):
        to_override([], "why", "me")
    assert to_override([], None, "me") is None
    assert to_override(["coverage", "coverage"], " small shop ", "me") == Override(("coverage",), "small shop", "me")


def test_every_check_that_can_refuse_is_one_that_can_be_named() -> None:
    settings = TrainerSettings(gating_baselines="popularity,item-knn,implicit-als,content,gf-cf,ease")
    report = a_report(gain=-0.1, served=-0.1)
    rankings = dict.fromkeys(settings.gating_baselines.split(","), report.rankings["popularity"])
    decision = decide(replace(report, rankings={**report.rankings, **rankings}), settings)
    assert {comparison.check for comparison in decision.comparisons} == {name for name in CHECKS if "below" in name}


def test_a_model_that_is_kept_unjudged_must_be_sane() -> None:
    tables = some_tables(some_tensors())
    require_sane(tables)
    flat = replace(tables, post_vector=np.ones_like(tables.post_vector))
    with pytest.raises(GateRefused, match="collapsed"):
        require_sane(flat)
    require_sane(flat, Override(("collapsed",), "why", "me"))
    endless = replace(tables, user_own=np.full_like(tables.user_own, np.inf))
    with pytest.raises(GateRefused, match="not-finite"):
        require_sane(endless, Override(("not-finite",), "why", "me"))


def a_pairing(own: np.ndarray, other: np.ndarray, post: np.ndarray | None = None) -> Pairing:
    """One held-out pair a user; every pair a post of its own unless told otherwise."""
    position = np.arange(len(own))
    return Pairing("c", "m", SERVED, "s", position, (position if post is None else post).astype(np.int32), own, other)


def test_all_intervals_of_a_night_hold_together_in_95_of_100_nights() -> None:
    """Level rankers, twelve comparisons a night: at most one night in twenty has one outside its interval."""
    choose = np.random.default_rng(7)
    outside, below, nights = 0, 0, 400
    for _ in range(nights):
        own, other = (choose.random((2, 12, 80)) < 0.2).astype(float)
        found = compare_all([a_pairing(*pair) for pair in zip(own, other, strict=True)])
        outside += any(abs(comparison.difference) > comparison.half_width for comparison in found)
        below += any(comparison.is_below for comparison in found)
    assert 0 < outside / nights < 0.07
    assert below / nights < 0.05


def test_users_who_share_a_post_do_not_count_as_many() -> None:
    """A retrain that moves single posts up or down gives or takes a hit to all of their users at once."""
    choose = np.random.default_rng(7)
    post = np.repeat(np.arange(20), 50)
    outside, nights = {"shared": 0, "own": 0}, 200
    for _ in range(nights):
        own, other = (choose.random((2, 20)) < 0.5).astype(float)[:, post]
        for name, posts in (("shared", post), ("own", None)):
            comparison = compare_all([a_pairing(own, other, posts)])[0]
            outside[name] += abs(comparison.difference) > comparison.half_width
    assert outside["shared"] / nights < 0.08
    assert outside["own"] / nights > 0.5  # what counting users alone would do


def test_what_the_pairs_give_adds_up_to_the_measures() -> None:
    report = a_report(served=0.1)
    for name in (MODEL, SERVED):
        for segment in report.asked.segments:
            part, users = within(report.asked.test, segment), report.judged[segment.name]
            found, scores = gains_of(report.rankings[name].lists, report.users, part), report.scores(name, segment.name)
            assert np.bincount(found.position, found.recall)[users] == pytest.approx(scores.recall)
            assert np.bincount(found.position, found.ndcg)[users] == pytest.approx(scores.ndcg)


def test_more_comparisons_make_wider_intervals() -> None:
    assert deviations_for(1) == pytest.approx(1.96, abs=0.001)
    assert deviations_for(12) == pytest.approx(2.865, abs=0.001)


def test_eight_tosses_of_a_coin_are_no_proof() -> None:
    """Of 50 users eight have one hit less: by chance alone one sign in 2^8, in each of many segments."""
    difference = np.zeros(50)
    difference[:8] = -1.0
    assert not compare_all([a_pairing(difference, np.zeros(50))] * 12)[0].is_below
    difference[:20] = -1.0
    assert compare_all([a_pairing(difference, np.zeros(50))] * 12)[0].is_below
