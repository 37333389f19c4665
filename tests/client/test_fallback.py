"""What is shown when no gateway answers: never what the question excludes, never what its tags keep out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from waypost.client import BadSetup, Client, Fallback, Recommendation, RecommendRequest
from waypost.client.fallback import KEPT_FILTERS, KEPT_SECONDS, Fallbacks
from waypost.http_models import Item, Tags
from waypost.questions import AppKey

BEACH = Tags(any=("Beach",), all=(), none=())


def a_request(**different: object) -> RecommendRequest:
    return RecommendRequest.model_validate({"user_id": 42, "k": 3, **different})


def an_answer(posts: Sequence[AppKey], source: str = "popular") -> Recommendation:
    items = [Item(post_id=post, score=9.0 - place) for place, post in enumerate(posts)]
    fields = {"request_id": "r", "user_id": 1, "model_version": 7, "degraded": False, "source": source, "items": items}
    return Recommendation.model_validate(fields)


def posts_of(items: Sequence[Item] | None) -> list[AppKey] | None:
    return None if items is None else [item.post_id for item in items]


def test_the_list_of_the_app_is_cut_to_k_without_repeats_excludes_and_recent_posts() -> None:
    fallbacks = Fallbacks([1, 1, 2, 3, 4, 5, 6])
    assert posts_of(fallbacks.items(a_request())) == [1, 2, 3]
    assert posts_of(fallbacks.items(a_request(exclude_post_ids=(1,), recent_post_ids=(3,)))) == [2, 4, 5]
    assert posts_of(fallbacks.items(a_request(recent_post_ids=(3,), exclude_seen=False))) == [1, 2, 3]


def test_a_function_of_the_app_sees_the_question() -> None:
    fallbacks = Fallbacks(lambda request: [10, 20] if request.tags.any else [30])
    assert posts_of(fallbacks.items(a_request(tags=BEACH))) == [10, 20]
    assert posts_of(fallbacks.items(a_request())) == [30]


def test_a_function_that_fails_is_no_failure_of_the_call() -> None:
    def broken(_: RecommendRequest) -> list[AppKey]:
        raise LookupError("the cache is away")

    fallbacks = Fallbacks(broken)
    assert posts_of(fallbacks.items(a_request())) == []
    fallbacks.keep(a_request(), an_answer([5, 6]), now=0.0)
    assert posts_of(fallbacks.items(a_request())) == [5, 6]


def test_a_plain_list_says_nothing_of_tags() -> None:
    assert posts_of(Fallbacks([1, 2, 3]).items(a_request(tags=BEACH))) == []


def test_without_a_fallback_and_before_any_answer_there_is_nothing() -> None:
    assert Fallbacks(None).items(a_request()) is None


def test_the_last_popular_answer_is_kept_for_everybody_and_a_ranked_one_for_nobody() -> None:
    fallbacks = Fallbacks(None)
    fallbacks.keep(a_request(), an_answer([7, 8, 9], source="graphsage"), now=0.0)
    assert fallbacks.items(a_request()) is None
    fallbacks.keep(a_request(), an_answer([7, 8, 9]), now=0.0)
    assert posts_of(fallbacks.items(a_request(user_id=43, exclude_post_ids=(8,)))) == [7, 9]


def test_an_answer_to_some_tags_is_kept_for_these_only() -> None:
    fallbacks = Fallbacks(None)
    fallbacks.keep(a_request(tags=BEACH), an_answer([7]), now=0.0)
    assert fallbacks.items(a_request()) is None
    assert fallbacks.items(a_request(tags=Tags(any=(), all=("beach",), none=()))) is None
    assert posts_of(fallbacks.items(a_request(tags=Tags(any=("bEACH", "beach"), all=(), none=())))) == [7]


def test_a_shorter_answer_replaces_a_longer_one_only_when_that_is_old() -> None:
    fallbacks = Fallbacks(None)
    fallbacks.keep(a_request(), an_answer([1, 2, 3]), now=0.0)
    fallbacks.keep(a_request(), an_answer([4]), now=KEPT_SECONDS)
    assert posts_of(fallbacks.items(a_request())) == [1, 2, 3]
    fallbacks.keep(a_request(), an_answer([4]), now=KEPT_SECONDS + 1)
    assert posts_of(fallbacks.items(a_request())) == [4]


def test_only_so_many_filters_are_kept() -> None:
    fallbacks = Fallbacks(None)
    requests = [a_request(tags=Tags(any=(f"tag{n}",), all=(), none=())) for n in range(KEPT_FILTERS + 1)]
    for request in requests:
        fallbacks.keep(request, an_answer([1]), now=0.0)
    assert [fallbacks.items(request) is None for request in requests] == [True] + [False] * KEPT_FILTERS


@pytest.mark.parametrize("fallback", ["hidden-coves", 7, b"posts"])
def test_what_is_no_fallback_is_refused(fallback: Fallback) -> None:
    with pytest.raises(BadSetup, match="no list of post ids"):
        Fallbacks(fallback)


@pytest.mark.parametrize("posts", [[None], [1.5], [[1]]])
def test_a_list_of_what_is_no_id_is_refused_when_the_client_is_made(posts: list[Any]) -> None:
    with pytest.raises(BadSetup, match="no post id"):
        Client("http://127.0.0.1:9", fallback=posts)
