"""How much of the catalogue was shown, counted without keeping it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from waypost.questions import Answer, AppKey
from waypost.worker.shown import MARKED_AT_ONCE, ShownPosts


def answers(version: int | None, posts: Iterable[AppKey]) -> list[Answer]:
    """Twenty posts each."""
    listed = list(posts)
    return [
        Answer(version, "graphsage", tuple((post, 0.5) for post in listed[start : start + 20]))
        for start in range(0, len(listed), 20)
    ]


@pytest.mark.parametrize("posts", [1, 1_000, 300_000])
@pytest.mark.parametrize("as_app_has_them", [lambda post: post, lambda post: -7_919 * post, lambda post: f"p-{post}"])
def test_distinct_posts_are_counted_within_three_percent(posts: int, as_app_has_them: type[AppKey]) -> None:
    shown, told = ShownPosts(), answers(7, map(as_app_has_them, range(posts)))
    for _ in range(2):
        for start in range(0, len(told), 100):
            shown.show(told[start : start + 100])
    assert shown.count() == pytest.approx(posts, rel=0.03)


def test_another_release_begins_anew_and_a_degraded_answer_counts_nothing() -> None:
    shown = ShownPosts()
    shown.show(answers(7, range(100)))
    shown.show(answers(8, range(3)))
    shown.show(answers(None, range(50)))
    assert shown.count() == 3


def test_a_scrape_counts_what_was_shown_a_moment_ago() -> None:
    shown = ShownPosts()
    for start in (0, MARKED_AT_ONCE - 1, MARKED_AT_ONCE):  # what waits to be marked, and what was marked at once
        shown.show(answers(7, range(start, start + 3)))
        shown.show(answers(7, range(start)))
        assert shown.count() == pytest.approx(start + 3, rel=0.01)
