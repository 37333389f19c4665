"""Filters and seen posts where the small release cannot show them: 30,000 posts, a user who has seen 25,000 of
them, and a tag on every post."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.factories import a_tokenizer, some_tables, some_tensors
from tests.release.brute_force import BruteForce
from waypost.exporter.contents import build_lookups
from waypost.exporter.onnx_graph import to_onnx
from waypost.graph.tensors import GraphTensors, csr_from_pairs
from waypost.questions import Question, TagFilter
from waypost.release.answering import Answerer
from waypost.release.onnx_runner import load_onnx
from waypost.stages import StageTimer

POSTS, SEEN = 30_000, 25_000
READER, UNKNOWN = 20, 99  # user ids
TOLERANCE = 1e-3  # of scores in the hundreds: the reader's state is the sum of 25,000 vectors in float32
World = tuple[Answerer, BruteForce]


@pytest.fixture(scope="module")
def world() -> World:
    tensors = large_tensors()
    tables = some_tables(tensors)
    infer = load_onnx(to_onnx(tables), threads=1)
    answerer = Answerer(7, build_lookups(tensors, tables), Tokenizer.from_str(a_tokenizer()), infer)
    return answerer, BruteForce(tensors, tables, {"beach": 1})


def large_tensors() -> GraphTensors:
    """Tags a, b and c by turns, and `everywhere` on every post; one user who has seen nearly everything."""
    tensors = some_tensors(num_users=3, num_posts=POSTS)
    every = np.arange(POSTS)
    seen = np.sort(np.random.default_rng(5).choice(POSTS, SEEN, replace=False)).astype(np.int32)
    read = tensors.interactions
    read = replace(read, user=np.full(SEEN, 1, np.int32), post=seen, kind=np.zeros(SEEN, np.uint8))
    return replace(
        tensors,
        interactions=replace(read, created_at=np.zeros(SEEN, np.int64)),
        tag_ids=np.arange(4),
        tag_names=("a", "b", "c", "everywhere"),
        post_tags=csr_from_pairs(np.concatenate([every, every]), np.concatenate([every % 3, np.full(POSTS, 3)]), POSTS),
    )


HARD = {
    "ten thousand excludes": Question(READER, 100, exclude_post_ids=tuple(range(1000, 11_000))),
    "excludes that do not exist": Question(UNKNOWN, exclude_post_ids=tuple(range(10**9, 10**9 + 10_000))),
    "a reader of 25,000": Question(READER, 100),
    "his next post": Question(READER, 100, recent_post_ids=(1000, 1001, 1002)),
    "a tag with all posts": Question(READER, 100, tags=TagFilter(any=("everywhere",))),
    "not a tag with all posts": Question(READER, 100, tags=TagFilter(none=("everywhere",))),
    "a tag of a third": Question(READER, 100, tags=TagFilter(all=("a", "everywhere"))),
    "a tag of a third, not seen": Question(READER, 100, tags=TagFilter(all=("a",)), exclude_seen=False),
    "without a third": Question(UNKNOWN, 100, query="beach", tags=TagFilter(none=("b",))),
    "an unknown tag": Question(READER, 100, tags=TagFilter(any=("nowhere",))),
    "a stranger without two thirds": Question(UNKNOWN, 100, tags=TagFilter(none=("a", "b"))),
    "a stranger": Question(UNKNOWN, 100),
    "only what is recent": Question(UNKNOWN, 100, recent_post_ids=tuple(range(1000, 1200)), exclude_seen=False),
}


@pytest.mark.parametrize("question", HARD.values(), ids=HARD)
def test_hard_questions_are_answered_as_by_brute_force(world: World, question: Question) -> None:
    answerer, truth = world
    assert truth.expected(question).differs_from(answerer.answer([question], StageTimer())[0], TOLERANCE) == ""


def test_all_of_them_at_once_too(world: World) -> None:
    answerer, truth = world
    batch = [*HARD.values(), *[Question(user) for user in (10, 20, 30)]]
    for question, answer in zip(batch, answerer.answer(batch, StageTimer()), strict=True):
        assert truth.expected(question).differs_from(answer, TOLERANCE) == ""


def test_fewer_than_k_only_where_fewer_are_eligible(world: World) -> None:
    answerer, truth = world
    seen = truth.expected(Question(READER)).eligible
    left = sorted(seen)[:3]
    others = tuple(post for post in sorted(seen) if post not in left)[:10_000]
    question = Question(READER, 100, exclude_post_ids=others)
    expected = truth.expected(question)
    assert len(expected.eligible) == 3 + max(0, len(seen) - 10_003)
    assert expected.differs_from(answerer.answer([question], StageTimer())[0], TOLERANCE) == ""
