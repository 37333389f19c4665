"""How much of the catalogue was shown, counted without keeping it."""

from __future__ import annotations

import pytest

from waypost.worker.shown import ShownPosts


@pytest.mark.parametrize("posts", [1, 1_000, 300_000])
def test_distinct_posts_are_counted_within_three_percent(posts: int) -> None:
    shown = ShownPosts()
    for _ in range(2):
        shown.show(7, (post * 7_919 for post in range(posts)))
    assert shown.count() == pytest.approx(posts, rel=0.03)


def test_another_release_begins_anew_and_a_degraded_answer_counts_nothing() -> None:
    shown = ShownPosts()
    shown.show(7, range(100))
    shown.show(8, range(3))
    shown.show(None, range(50))
    assert shown.count() == 3
