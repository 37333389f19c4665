"""The data contract's figures, and every check just inside and just outside its limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.factories import some_tensors
from waypost.graph import contract
from waypost.graph.contract import (
    CLOCK_TOLERANCE_SECONDS,
    MIN_ROWS,
    MIN_TAGS,
    SKETCH_SIZE,
    Check,
    Facts,
    Limits,
    Report,
    Verdict,
    estimate_drift,
    inspect,
    judge,
    to_sketch,
)
from waypost.graph.facts import GraphRead, SourceFacts
from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions, csr_from_pairs, no_entries
from waypost.graph.texts import no_texts, to_texts

LIMITS = Limits(
    max_drop=0.9,
    max_jump=10,
    max_null_share=0.3,
    max_orphan_share=0.4,
    max_duplicate_share=0.5,
    max_user_share=0.1,
    max_post_share=0.2,
    max_future_share=0.05,
    max_tag_drift=0.6,
    max_textless_share=0.8,
    max_textless_rise=0.25,
)
NAMES = [f"tag {i}" for i in range(100)]
TAKEN_AT = 1_700_000_000.0


def some_facts(**changes: Any) -> Facts:
    """An ordinary night of 10,000 interactions."""
    facts = Facts(
        taken_at=TAKEN_AT,
        sources={"interactions": SourceFacts(10_000, 0, 0)},
        users=1_000,
        posts=2_000,
        interactions=10_000,
        duplicate_share=0.01,
        largest_user_share=0.01,
        largest_post_share=0.02,
        high_user_degree=80,
        high_post_degree=150,
        future_interaction_share=0.0,
        future_post_share=0.0,
        furthest_future_seconds=0.0,
        untimed_interaction_share=0.0,
        textless_post_share=0.1,
        untagged_post_share=0.3,
        tags=len(NAMES),
        tag_sketch=to_sketch(set(NAMES)),
    )
    return replace(facts, **changes)


def of_rows(rows: int, null_ids: int = 0, orphans: int = 0, source: str = "interactions") -> Facts:
    return some_facts(sources={source: SourceFacts(rows, null_ids, orphans)})


def check_of(report: Report, name: str, source: str = "") -> Check:
    (found,) = [check for check in report.checks if (check.name, check.source) == (name, source)]
    return found


def verdict_of(facts: Facts, name: str, source: str = "", history: tuple[Facts, ...] = ()) -> Verdict:
    return check_of(judge(facts, history, LIMITS), name, source).verdict


def interactions_of(rows: list[tuple[int, int, int, int]]) -> Interactions:
    """(user, post, time, kind), brought into the order of the tensors."""
    table = np.array(sorted(rows), np.int64).reshape(-1, 4)
    return Interactions(
        table[:, 0].astype(np.int32), table[:, 1].astype(np.int32), table[:, 3].astype(np.uint8), table[:, 2]
    )


def a_read(tensors: GraphTensors, taken_at: float = TAKEN_AT) -> GraphRead:
    return GraphRead("f", tensors, {"interactions": SourceFacts(len(tensors.interactions), 0, 0)}, taken_at)


class TestFigures:
    def test_a_repeat_is_equal_in_user_post_kind_and_time(self) -> None:
        same, other_kind, later, last = (1, 2, 5, 0), (1, 2, 5, 1), (1, 2, 6, 0), (1, 2, 7, 0)
        untimed = (3, 2, NO_TIME, 0)
        rows = [same, same, same, other_kind, later, last, untimed, untimed, (3, 3, NO_TIME, 0)]
        facts = inspect(a_read(some_tensors(interactions=interactions_of(rows), kinds=("view", "like"))))
        assert facts.duplicate_share == 3 / 9
        assert facts.untimed_interaction_share == 3 / 9

    def test_the_largest_shares_and_high_degrees_are_those_of_a_plain_count(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contract, "CHUNK", 7)  # a number of ours: the count goes in several pieces
        rows = [(user, post, user * 100 + post, 0) for user in range(1, 10) for post in range(user)]
        facts = inspect(a_read(some_tensors(interactions=interactions_of(rows))))
        assert facts.interactions == 45
        assert facts.largest_user_share == 9 / 45
        assert facts.largest_post_share == 9 / 45  # post 0 is in every user's list
        assert (facts.high_user_degree, facts.high_post_degree) == (9, 9)

    def test_one_in_a_thousand_does_not_make_the_high_degree(self) -> None:
        rows = [(user, 0, user, 0) for user in range(2_000)] + [(2_000, post, 1, 0) for post in range(30)]
        tensors = some_tensors(num_users=2_001, interactions=interactions_of(rows))
        assert inspect(a_read(tensors)).high_user_degree == 1

    def test_the_future_begins_after_the_clock_tolerance(self) -> None:
        edge = round((TAKEN_AT + CLOCK_TOLERANCE_SECONDS) * 1e6)
        rows = [(1, 1, edge, 0), (1, 2, edge + 1, 0), (1, 3, 0, 0), (1, 4, NO_TIME, 0)]
        posts = np.array([edge, edge + 7_000_000, 0, NO_TIME, 0], np.int64)
        tensors = some_tensors(num_posts=5, interactions=interactions_of(rows), post_created_at=posts)
        facts = inspect(a_read(tensors))
        assert facts.future_interaction_share == 1 / 4
        assert facts.future_post_share == 1 / 5
        assert facts.furthest_future_seconds == CLOCK_TOLERANCE_SECONDS + 7

    def test_without_anything_in_the_future_nothing_is_far(self) -> None:
        assert inspect(a_read(some_tensors())).furthest_future_seconds == 0

    def test_posts_without_text_or_tags_are_counted(self) -> None:
        tensors = some_tensors(
            num_posts=4,
            post_texts=to_texts(["a", "", "", "b"]),
            post_tags=csr_from_pairs(np.array([0, 0]), np.array([0, 1]), 4),
        )
        facts = inspect(a_read(tensors))
        assert facts.textless_post_share == 2 / 4
        assert facts.untagged_post_share == 3 / 4

    def test_tag_names_are_the_same_in_any_case(self) -> None:
        facts = inspect(a_read(some_tensors(num_tags=3, tag_names=("Beach", "BEACH", "snow"))))
        assert facts.tags == 2
        assert facts.tag_sketch == to_sketch({"beach", "snow"})

    def test_an_empty_graph_has_figures_too(self) -> None:
        nothing = some_tensors(
            num_users=0,
            num_posts=0,
            num_tags=0,
            interactions=interactions_of([]),
            post_texts=no_texts(0),
            post_tags=no_entries(0),
        )
        facts = inspect(a_read(nothing))
        assert facts.interactions == facts.high_user_degree == facts.tags == 0
        assert facts.duplicate_share == facts.largest_post_share == facts.textless_post_share == 0
        assert judge(facts, (), LIMITS).of("ok")


class TestDrift:
    def test_small_vocabularies_are_compared_exactly(self) -> None:
        old, new = to_sketch({"a", "b", "c"}), to_sketch({"b", "c", "d", "e"})
        assert estimate_drift(old, new) == pytest.approx(1 - 2 / 5)
        assert estimate_drift(old, old) == 0
        assert estimate_drift(old, to_sketch(set())) == 1
        assert estimate_drift(to_sketch(set()), to_sketch(set())) == 0

    @pytest.mark.parametrize("shared", [0, 5_000, 15_000, 20_000])
    def test_large_ones_within_the_error_of_a_sample(self, shared: int) -> None:
        old = {f"name {i}" for i in range(20_000)}
        new = {f"name {i}" for i in range(20_000 - shared, 40_000 - shared)}
        true = 1 - shared / (40_000 - shared)
        assert abs(estimate_drift(to_sketch(old), to_sketch(new)) - true) <= 4 * (0.25 / SKETCH_SIZE) ** 0.5

    def test_a_sketch_stays_small(self) -> None:
        assert len(to_sketch({str(i) for i in range(5_000)})) == 16 * SKETCH_SIZE


class TestRowCounts:
    @pytest.mark.parametrize(("rows", "verdict"), [(1_001, "ok"), (1_000, "refused"), (0, "refused")])
    def test_a_drop_by_nine_tenths_stops_the_night(self, rows: int, verdict: Verdict) -> None:
        assert verdict_of(of_rows(rows), "row_drop", "interactions", (of_rows(10_000),)) == verdict

    @pytest.mark.parametrize(("rows", "verdict"), [(99_999, "ok"), (100_000, "refused")])
    def test_ten_times_the_rows_stop_the_night(self, rows: int, verdict: Verdict) -> None:
        assert verdict_of(of_rows(rows), "row_jump", "interactions", (of_rows(10_000),)) == verdict

    def test_a_median_of_the_last_nights_is_what_counts(self) -> None:
        history = tuple(of_rows(rows) for rows in (300, 10_000, 10_000, 90_000, 10_000))
        found = check_of(judge(of_rows(1_000), history, LIMITS), "row_drop", "interactions")
        assert found.verdict == "refused"
        assert found.sentence == (
            "interactions: 1,000 rows, 90 % fewer than the 10,000 of the last 5 nights (median; 90 % or more stops)"
        )

    def test_the_first_night_compares_nothing_and_says_so(self) -> None:
        report = judge(of_rows(10_000), (), LIMITS)
        assert not report.of("refused")
        assert not report.of("warning")
        for name, source in (("row_drop", "interactions"), ("row_jump", "interactions"), ("tag_drift", "")):
            found = check_of(report, name, source)
            assert found.figure is None
            assert "no accepted night" in found.sentence

    def test_a_source_that_is_new_is_not_compared(self) -> None:
        tonight = some_facts(sources={"interactions": SourceFacts(10_000, 0, 0), "bookings": SourceFacts(5, 0, 0)})
        report = judge(tonight, (some_facts(),), LIMITS)
        assert "nothing to compare with" in check_of(report, "row_drop", "bookings").sentence
        assert not report.of("refused")

    def test_a_source_that_is_no_longer_read_is_a_warning(self) -> None:
        before = some_facts(sources={"interactions": SourceFacts(10_000, 0, 0), "tags": SourceFacts(7, 0, 0)})
        report = judge(some_facts(), (before,), LIMITS)
        assert [(check.name, check.source) for check in report.of("warning")] == [("source_gone", "tags")]
        assert not judge(some_facts(), (some_facts(), before), LIMITS).of("warning")

    @pytest.mark.parametrize(("usual", "verdict"), [(MIN_ROWS - 1, "ok"), (MIN_ROWS, "refused")])
    def test_a_handful_of_rows_cannot_drop(self, usual: int, verdict: Verdict) -> None:
        assert verdict_of(of_rows(0), "row_drop", "interactions", (of_rows(usual),)) == verdict

    @pytest.mark.parametrize(("rows", "verdict"), [(10 * MIN_ROWS - 1, "ok"), (10 * MIN_ROWS, "refused")])
    def test_a_handful_of_rows_may_grow_to_what_a_launch_brings(self, rows: int, verdict: Verdict) -> None:
        assert verdict_of(of_rows(rows), "row_jump", "interactions", (of_rows(3),)) == verdict


class TestShares:
    @pytest.mark.parametrize(
        ("name", "facts", "verdict"),
        [
            ("null_share", of_rows(1_000, null_ids=300), "ok"),
            ("null_share", of_rows(1_000, null_ids=301), "refused"),
            ("orphan_share", of_rows(1_000, orphans=400), "ok"),
            ("orphan_share", of_rows(1_000, orphans=401), "refused"),
            ("null_share", of_rows(MIN_ROWS - 1, null_ids=MIN_ROWS - 1), "ok"),
            ("orphan_share", of_rows(MIN_ROWS, orphans=MIN_ROWS), "refused"),
        ],
    )
    def test_unused_rows_of_a_source(self, name: str, facts: Facts, verdict: Verdict) -> None:
        assert verdict_of(facts, name, "interactions") == verdict

    def test_posts_by_authors_that_are_no_users_only_warn(self) -> None:
        by_editors = of_rows(1_000, orphans=1_000, source="posts")
        assert verdict_of(by_editors, "orphan_share", "posts") == "warning"

    @pytest.mark.parametrize(
        ("name", "changes", "verdict"),
        [
            ("duplicate_share", {"duplicate_share": 0.5}, "ok"),
            ("duplicate_share", {"duplicate_share": 0.5001}, "warning"),
            ("user_share", {"largest_user_share": 0.1}, "ok"),
            ("user_share", {"largest_user_share": 0.1001}, "warning"),
            ("user_share", {"largest_user_share": 0.9, "users": MIN_ROWS - 1}, "ok"),
            ("post_share", {"largest_post_share": 0.2}, "ok"),
            ("post_share", {"largest_post_share": 0.2001}, "warning"),
            ("post_share", {"largest_post_share": 0.9, "posts": MIN_ROWS - 1}, "ok"),
            ("future_interaction_share", {"future_interaction_share": 0.05}, "ok"),
            ("future_interaction_share", {"future_interaction_share": 0.0501}, "refused"),
            ("future_post_share", {"future_post_share": 0.05}, "ok"),
            ("future_post_share", {"future_post_share": 0.0501}, "warning"),
            ("textless_share", {"textless_post_share": 0.8}, "ok"),
            ("textless_share", {"textless_post_share": 0.8001}, "refused"),
            ("textless_share", {"textless_post_share": 1.0, "posts": MIN_ROWS - 1}, "ok"),
        ],
    )
    def test_of_the_whole_graph(self, name: str, changes: dict[str, Any], verdict: Verdict) -> None:
        assert verdict_of(some_facts(**changes), name) == verdict

    @pytest.mark.parametrize(("share", "verdict"), [(0.75, "ok"), (0.7501, "refused")])
    def test_text_that_is_lost_overnight_stops_the_night(self, share: float, verdict: Verdict) -> None:
        before = some_facts(textless_post_share=0.5)
        assert verdict_of(some_facts(textless_post_share=share), "textless_rise", "", (before,)) == verdict

    def test_an_app_that_never_had_text_has_lost_none(self) -> None:
        textless = some_facts(textless_post_share=1.0)
        assert verdict_of(textless, "textless_rise", "", (textless,)) == "ok"

    @pytest.mark.parametrize(("renamed", "verdict"), [(42, "ok"), (43, "refused")])
    def test_tags_renamed_overnight_stop_the_night(self, renamed: int, verdict: Verdict) -> None:
        """1 − 58 / 142 = 0.592, 1 − 57 / 143 = 0.601."""
        names = NAMES[renamed:] + [f"new {i}" for i in range(renamed)]
        tonight = some_facts(tag_sketch=to_sketch(set(names)))
        assert verdict_of(tonight, "tag_drift", "", (some_facts(),)) == verdict

    @pytest.mark.parametrize(("tags", "verdict"), [(MIN_TAGS - 1, "ok"), (MIN_TAGS, "refused")])
    def test_a_handful_of_tags_cannot_drift(self, tags: int, verdict: Verdict) -> None:
        before = some_facts(tags=tags, tag_sketch=to_sketch({f"old {i}" for i in range(tags)}))
        assert verdict_of(some_facts(), "tag_drift", "", (before,)) == verdict


class TestTheWayOut:
    @pytest.mark.parametrize("rows", [1, 130, 290, 500, 710, 1_000])
    def test_the_limit_it_names_lets_a_drop_pass(self, rows: int) -> None:
        history = (of_rows(10_000),)
        found = check_of(judge(of_rows(rows), history, LIMITS), "row_drop", "interactions")
        assert found.raise_to is not None
        again = judge(of_rows(rows), history, replace(LIMITS, max_drop=found.raise_to))
        assert check_of(again, "row_drop", "interactions").verdict == "ok"

    def test_no_limit_lets_an_empty_source_pass(self) -> None:
        assert check_of(judge(of_rows(0), (of_rows(500),), LIMITS), "row_drop", "interactions").raise_to is None

    @pytest.mark.parametrize("rows", [1_000, 1_090, 12_345])
    def test_the_limit_it_names_lets_a_jump_pass(self, rows: int) -> None:
        history = (of_rows(100),)
        found = check_of(judge(of_rows(rows), history, LIMITS), "row_jump", "interactions")
        assert found.verdict == "refused"
        assert found.raise_to is not None
        again = judge(of_rows(rows), history, replace(LIMITS, max_jump=found.raise_to))
        assert check_of(again, "row_jump", "interactions").verdict == "ok"

    @pytest.mark.parametrize("orphans", [410, 570, 580, 999, 1_000])
    def test_the_limit_it_names_lets_a_share_pass(self, orphans: int) -> None:
        tonight = of_rows(1_000, orphans=orphans)
        found = check_of(judge(tonight, (), LIMITS), "orphan_share", "interactions")
        assert found.verdict == "refused"
        assert found.raise_to is not None
        again = judge(tonight, (), replace(LIMITS, max_orphan_share=found.raise_to))
        assert check_of(again, "orphan_share", "interactions").verdict == "ok"
