"""Which rows share a call of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.model.signature import Row
from waypost.release.calls import to_calls


def a_row(allowed: int = 0, blocked: int = 0) -> Row:
    return Row(
        1, restricted=allowed > 0, allowed_posts=np.zeros(allowed, np.int32), blocked_posts=np.zeros(blocked, np.int32)
    )


class TestCalls:
    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.sampled_from([0, 1, 3_000, 300_000]), st.sampled_from([0, 40, 5_000, 200_000]))))
    def test_every_row_goes_into_one_call(self, lengths: Sequence[tuple[int, int]]) -> None:
        calls = to_calls([a_row(*each) for each in lengths])
        assert sorted(row for call in calls for row in call) == list(range(len(lengths)))

    def test_light_rows_go_together(self) -> None:
        assert len(to_calls([a_row(blocked=i) for i in range(64)])) == 1

    def test_many_rows_of_ten_thousand_excludes_are_few_calls(self) -> None:
        assert len(to_calls([a_row(blocked=10_000) for _ in range(64)])) == 1

    def test_one_long_list_is_not_padded_to_sixty_others(self) -> None:
        assert len(to_calls([a_row(blocked=100_000), *[a_row(blocked=20)] * 63])) == 2
        assert len(to_calls([a_row(allowed=4_000), *[a_row(blocked=20)] * 63])) == 2

    def test_one_short_list_is(self) -> None:
        assert len(to_calls([a_row(allowed=100), *[a_row(blocked=20)] * 63])) == 1

    def test_no_call_needs_more_memory_than_the_largest_row(self) -> None:
        assert len(to_calls([a_row(allowed=200_000)] * 8)) == 8
        assert len(to_calls([a_row()] * 300)) == 2
