"""One question, three ways: through gateway, queue, worker and a real Triton; in a batch on that Triton; offline."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import a_release
from tests.gateway.conftest import Client, Proven, StartGateway, StartWorker, queue, start_gateway, start_worker
from tests.release.brute_force import TOLERANCE
from tests.release.test_answering import questions
from waypost.clock import SystemClock
from waypost.objects.bundle import describe
from waypost.objects.memory import MemoryObjectStore
from waypost.questions import Answer, Question
from waypost.release import lookups
from waypost.release.answering import Answerer
from waypost.release.moves import point_to
from waypost.release.offline import recommend_all_users
from waypost.release.onnx_runner import load_onnx
from waypost.release.opening import open_release
from waypost.release.repository import assemble, remove_model
from waypost.release.store import LOOKUPS, MODEL, publish
from waypost.release.triton import TritonModel
from waypost.settings import EmbeddedStack
from waypost.stages import StageTimer

__all__ = ["queue", "start_gateway", "start_worker"]  # pytest finds fixtures by their names
FILES, FACTS = a_release(version=7)
MANIFEST = describe(FILES, FACTS)
OFFLINE = open_release(MANIFEST, FILES, load_onnx(FILES[MODEL], threads=1))
NAME, PATIENT_MS = "test_answering", 10_000
Items = list[tuple[Any, float]]


@pytest.fixture(scope="module")
def served(triton_stack: EmbeddedStack) -> Iterator[Answerer]:
    """The release in a real Triton, as a worker answers with it."""
    folder = Path(triton_stack.triton_repository)
    assemble(folder, 7, FILES, lookups.from_bytes(FILES[LOOKUPS]).sizes, "python", "cpu", NAME)
    model = TritonModel(triton_stack.triton_url, 30, 30, NAME)
    model.load()
    yield replace(OFFLINE, infer=lambda inputs: model.infer(7, inputs))
    model.unload()
    model.close()
    remove_model(folder, NAME)


@pytest.fixture
def store() -> MemoryObjectStore:
    """With the whole release."""
    found = MemoryObjectStore()
    publish(found, "release-7", FILES, FACTS)
    point_to(found, None, "release-7", 7, "test", SystemClock())
    return found


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(questions, min_size=1, max_size=24))
def test_triton_answers_a_batch_as_this_process_answers_each_alone(served: Answerer, batch: list[Question]) -> None:
    for question, answer in zip(batch, served.answer(batch, StageTimer()), strict=True):
        (alone,) = OFFLINE.answer([question], StageTimer())
        assert (answer.source, answer.model_version) == (alone.source, 7)
        assert are_alike(list(answer.items), list(alone.items)), question


def test_questions_over_http_are_answered_as_offline(
    served: Answerer, start_gateway: StartGateway, start_worker: StartWorker
) -> None:
    gateway = start_gateway()
    start_worker(Proven(served))
    asked = some_questions(120)
    with ThreadPoolExecutor(16) as pool:  # so that the worker sees batches
        answers = list(pool.map(lambda question: over_http(gateway, question), asked))
    for question, (source, items) in zip(asked, answers, strict=True):
        (offline,) = OFFLINE.answer([question], StageTimer())
        assert source == offline.source
        assert are_alike(items, list(offline.items)), question


def test_everybody_s_list_over_http_is_that_of_waypost_recommend(
    served: Answerer, start_gateway: StartGateway, start_worker: StartWorker
) -> None:
    gateway = start_gateway()
    start_worker(Proven(served))
    lists = dict(recommend_all_users(OFFLINE, 20, exclude_seen=True))
    assert len(lists) == 12
    for user, offline in lists.items():
        source, items = over_http(gateway, Question(user, 20))
        assert source == offline.source
        assert are_alike(items, list(offline.items)), user


def some_questions(count: int) -> list[Question]:
    """The same ones every time."""
    found: list[Question] = []

    @settings(max_examples=2 * count, deadline=None, derandomize=True, database=None)
    @given(questions)
    def collect(question: Question) -> None:
        found.append(question)

    collect()
    return found[:count]


def over_http(gateway: Client, question: Question) -> tuple[str, Items]:
    tags = question.tags
    body = {
        "user_id": question.user_id,
        "k": question.k,
        "recent_post_ids": question.recent_post_ids,
        "exclude_post_ids": question.exclude_post_ids,
        "tags": {"any": tags.any, "all": tags.all, "none": tags.none},
        "query": question.query,
        "exclude_seen": question.exclude_seen,
        "deadline_ms": PATIENT_MS,
    }
    answer = gateway.post(body)
    while answer.json["degraded"]:  # on a machine so busy that the gateway gave the worker up
        answer = gateway.post(body)
    return answer.json["source"], [(item["post_id"], item["score"]) for item in answer.json["items"]]


def are_alike(items: Items, others: Items) -> bool:
    """Equal, but that scores may differ by the tolerance, and posts whose scores are that close may change places."""
    if len(items) != len(others):
        return False
    score_of = dict(others)
    return all(
        abs(score - other_score) <= TOLERANCE
        and (post == other or abs(score_of.get(post, other_score) - other_score) <= TOLERANCE)
        for (post, score), (other, other_score) in zip(items, others, strict=True)
    )


def test_two_lists_that_differ_are_not_alike() -> None:
    answer: Answer = OFFLINE.answer([Question(50, 5)], StageTimer())[0]
    items = list(answer.items)
    assert are_alike(items, items)
    assert not are_alike(items, items[:-1])
    assert not are_alike(items, [*items[:-1], (999, items[-1][1] - 1)])
    assert not are_alike(items, [*items[:2], items[3], items[2], items[4]])
