"""Whatever an app hands to the client, it gets a question or one line that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from waypost.client import AsyncClient, ClientError, Tags
from waypost.client.asking import to_asked
from waypost.client.fallback import Fallbacks

STRANGE = [
    np.int64(5), np.arange(3), np.array([]), UUID(int=7), Decimal(1), datetime.now(UTC), object(), {7}, len, range(3)
]  # fmt: skip
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(alphabet=st.characters(codec=None), max_size=5),  # half surrogate pairs too
    st.binary(max_size=5),
    st.sampled_from(STRANGE),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(max_size=4) | st.integers()
    return st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(keys, inner, max_size=3)


anything = st.recursive(leaves, containers, max_leaves=6)


def is_told_in_one_line(call: Callable[[], object]) -> None:
    """Whether it works, or says what is wrong; any other exception is the test's failure."""
    told = None
    try:
        call()
    except ClientError as error:
        told = error
    assert told is None or (told.remedy and "\n" not in str(told))


ARGUMENTS = ("user_id", "k", "recent_post_ids", "exclude_post_ids", "tags", "query", "exclude_seen", "deadline_ms")
RIGHT: dict[str, Any] = dict(zip(ARGUMENTS, (42, 20, (), (), None, None, True, 250), strict=True))


@given(st.dictionaries(st.sampled_from(ARGUMENTS), anything, min_size=1))
def test_a_question_of_anything_is_a_question_or_one_line(wrong: dict[str, Any]) -> None:
    def ask() -> None:
        asked = to_asked(**{**RIGHT, **wrong})
        assert asked.body(0.1)  # it can be sent, more than once
        assert asked.body(0.05)

    is_told_in_one_line(ask)


@given(st.dictionaries(st.sampled_from(["any", "all", "none"]), anything))
def test_tags_of_anything_are_tags_or_one_line(wrong: dict[str, Any]) -> None:
    is_told_in_one_line(lambda: Tags(**wrong))
    is_told_in_one_line(lambda: to_asked(**{**RIGHT, "tags": wrong}))


@given(gateways=anything, key=anything, fallback=anything, tls=anything)
def test_a_client_of_anything_is_a_client_or_one_line(gateways: Any, key: Any, fallback: Any, tls: Any) -> None:
    is_told_in_one_line(lambda: AsyncClient(gateways))
    is_told_in_one_line(lambda: AsyncClient("http://gateway:8080", api_key=key))
    is_told_in_one_line(lambda: AsyncClient("http://gateway:8080", tls=tls))
    is_told_in_one_line(lambda: Fallbacks(fallback))
