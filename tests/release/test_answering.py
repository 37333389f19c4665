"""Filters, seen posts and order against a brute-force reference, through the release's own model file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.factories import a_tokenizer, keyed_by_strings, slug_at, some_tables, some_tensors, uuid_at
from tests.release.brute_force import TOLERANCE, BruteForce
from waypost.exporter.contents import build_lookups
from waypost.exporter.onnx_graph import to_onnx
from waypost.exporter.reference import reference_scores
from waypost.model.signature import FORBIDDEN_SCORE, Row
from waypost.questions import Answer, AppKey, Question, TagFilter
from waypost.release import lookups
from waypost.release.answering import Answerer
from waypost.release.onnx_runner import load_onnx
from waypost.stages import StageTimer

TAG_NAMES = ("Tag0", "tag1", "TAG2", "Straße", "Ünder")
TENSORS = some_tensors(tag_names=TAG_NAMES)
TABLES = some_tables(TENSORS)
LOOKUPS = lookups.from_bytes(lookups.to_bytes(build_lookups(TENSORS, TABLES)))
ANSWERER = Answerer(7, LOOKUPS, Tokenizer.from_str(a_tokenizer()), load_onnx(to_onnx(TABLES), threads=1))
WORDS = {"beach": 1, "snow": 2, "train": 3, "food": 4, "lisbon": 5}
TRUTH = BruteForce(TENSORS, TABLES, WORDS)
KNOWN, WITHOUT_HISTORY, UNKNOWN = 50, 10, 99


def ask(question: Question) -> Answer:
    return ANSWERER.answer([question], StageTimer())[0]


def posts_of(answer: Answer) -> list[AppKey]:
    return [post_id for post_id, _ in answer.items]


def scores_of(answer: Answer) -> list[float]:
    return [score for _, score in answer.items]


def seen_by(user_id: AppKey) -> set[int]:
    row = int(np.searchsorted(TENSORS.user_ids, user_id))
    return set(TENSORS.post_ids[TENSORS.interactions.post[TENSORS.interactions.user == row]].tolist())


named = st.sampled_from(["Tag0", "tAG0", "tag1", "tag2", "STRASSE", "straße", "ÜNDER", "nowhere"])
names = st.lists(named, max_size=3).map(tuple)
post_ids = st.lists(st.integers(995, 1035), max_size=12).map(tuple)
many_post_ids = st.one_of(post_ids, st.just(tuple(range(1000, 1028))), st.just(tuple(range(900, 1100))))
questions = st.builds(
    Question,
    user_id=st.sampled_from([10, 20, 50, 120, 99, -1]),
    k=st.integers(1, 100),
    recent_post_ids=post_ids,
    exclude_post_ids=many_post_ids,
    tags=st.builds(TagFilter, names, names, names),
    query=st.sampled_from([None, "", "beach train", "train train beach"]),
    exclude_seen=st.booleans(),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(questions)
def test_the_answer_is_that_of_brute_force(question: Question) -> None:
    assert TRUTH.expected(question).differs_from(ask(question)) == ""


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(questions, min_size=1, max_size=24))
def test_a_question_s_answer_does_not_depend_on_its_batch_mates(batch: list[Question]) -> None:
    """Scores may differ in their last bits, as a kernel adds in another order; posts that close may change places."""
    for question, together in zip(batch, ANSWERER.answer(batch, StageTimer()), strict=True):
        alone = ask(question)
        assert together.source == alone.source
        assert TRUTH.expected(question).differs_from(together) == ""
        np.testing.assert_allclose(scores_of(together), scores_of(alone), rtol=0, atol=TOLERANCE)


def test_a_known_user_is_ranked_by_the_model() -> None:
    answer = ask(Question(KNOWN, k=5))
    row = int(np.searchsorted(TENSORS.user_ids, KNOWN))
    scores = reference_scores(TABLES, Row(row, blocked_posts=LOOKUPS.seen_rows(row)))
    assert (answer.source, answer.model_version) == ("graphsage", 7)
    assert posts_of(answer) == (1000 + np.argsort(-scores)[:5]).tolist()


@pytest.mark.parametrize("user_id", [WITHOUT_HISTORY, UNKNOWN])
def test_a_user_of_whom_nothing_is_known_gets_what_is_popular(user_id: int) -> None:
    answer = ask(Question(user_id, k=4))
    counts = np.bincount(
        np.unique(TENSORS.interactions.user.astype(np.int64) * 30 + TENSORS.interactions.post) % 30, minlength=30
    )
    assert answer.source == "popular"
    assert posts_of(answer) == (1000 + np.argsort(-counts, kind="stable")[:4]).tolist()


@pytest.mark.parametrize(
    "question",
    [
        Question(UNKNOWN, recent_post_ids=(1003,)),
        Question(UNKNOWN, query="beach"),
        Question(UNKNOWN, tags=TagFilter(any=("tag1",))),
        Question(WITHOUT_HISTORY, recent_post_ids=(1003,)),
    ],
)
def test_recent_posts_a_query_or_tags_let_the_model_rank_for_a_stranger(question: Question) -> None:
    assert ask(question).source == "graphsage"


def test_what_a_stranger_does_not_want_only_filters_what_is_popular() -> None:
    everything = ask(Question(UNKNOWN, k=30))
    answer = ask(Question(UNKNOWN, k=30, tags=TagFilter(none=("tag1",))))
    assert answer.source == "popular"
    assert 0 < len(answer.items) < len(everything.items)
    assert set(answer.items) < set(everything.items)


def test_recent_posts_change_the_very_next_answer_and_leave_the_list() -> None:
    before = posts_of(ask(Question(KNOWN, k=10)))
    after = posts_of(ask(Question(KNOWN, k=10, recent_post_ids=(before[0],))))
    assert before[0] not in after
    assert after != before[1:] + after[-1:]


def test_a_recent_post_that_the_night_had_already_changes_nothing() -> None:
    seen = sorted(seen_by(KNOWN))[0]
    assert ask(Question(KNOWN, recent_post_ids=(seen, seen))).items == ask(Question(KNOWN)).items


def test_recent_posts_that_the_release_does_not_know_are_left_out() -> None:
    assert ask(Question(UNKNOWN, recent_post_ids=(5, 2**63 - 1, -(2**63)))).source == "popular"


def test_an_unknown_tag_matches_no_post() -> None:
    assert ask(Question(KNOWN, tags=TagFilter(all=("nowhere",)))).items == ()


def test_a_row_with_a_long_list_does_not_change_its_neighbours_answers() -> None:
    long = Question(KNOWN, exclude_post_ids=tuple(range(1000, 6000)))
    together = ANSWERER.answer([long, Question(KNOWN)], StageTimer())
    assert together[0].items == ()
    assert together[1].items == ask(Question(KNOWN)).items


def test_of_posts_with_one_score_the_lowest_come_first_whatever_the_model_does() -> None:
    """ONNX asks TopK to; an execution provider may not."""

    def infer(inputs: dict[str, Any]) -> dict[str, Any]:
        one = np.array([[9, 7, 8, 3, 2]]), np.array([[0.5, 0.5, 0.5, 0.1, FORBIDDEN_SCORE]], np.float32)
        return dict(zip(("post_index", "score"), one, strict=True))

    answer = replace(ANSWERER, infer=infer).answer([Question(KNOWN, k=2)], StageTimer())[0]
    assert posts_of(answer) == [1007, 1008]


STRINGS = Answerer(
    7,
    lookups.from_bytes(lookups.to_bytes(build_lookups(keyed_by_strings(TENSORS), TABLES))),
    ANSWERER.tokenizer,
    ANSWERER.infer,
)


def in_strings(question: Question) -> Question:
    """The same question where users go by UUIDs and posts by texts."""
    rows = {user: row for row, user in enumerate(TENSORS.user_ids.tolist())}
    return replace(
        question,
        user_id=uuid_at(rows.get(question.user_id, len(rows))),
        recent_post_ids=tuple(slug_of(post) for post in question.recent_post_ids),
        exclude_post_ids=tuple(slug_of(post) for post in question.exclude_post_ids),
    )


def slug_of(post: AppKey) -> str:
    known = isinstance(post, int) and 1000 <= post < 1000 + TENSORS.num_posts
    return slug_at(int(post) - 1000) if known else f"nowhere {post}"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(questions)
def test_string_keys_get_the_very_answers_of_integer_keys(question: Question) -> None:
    by_integer, by_string = ask(question), STRINGS.answer([in_strings(question)], StageTimer())[0]
    assert by_string == replace(by_integer, items=tuple((slug_of(post), score) for post, score in by_integer.items))
