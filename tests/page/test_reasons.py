"""Reasons: that a share is a part of the served model's own score, and that a history is told as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.factories import keyed_by_strings, release_of, slug_at, some_tables, some_tensors, uuid_at
from waypost.errors import CorruptObject
from waypost.exporter.reference import reference_scores
from waypost.graph.tensors import GraphTensors
from waypost.local.reasons import Reasons, title_of
from waypost.local.reasons_reading import read_tables
from waypost.model.signature import Row
from waypost.release import lookups
from waypost.release.store import LOOKUPS, MODEL

USER, POST = 3, 7  # rows


def reasons_of(tensors: GraphTensors) -> Reasons:
    files, _ = release_of(tensors, some_tables(tensors), 1)
    return Reasons(1, tensors, lookups.from_bytes(files[LOOKUPS]), read_tables(files[MODEL]))


@pytest.fixture(scope="module")
def reasons() -> Reasons:
    return reasons_of(some_tensors())


def test_a_lift_is_what_the_models_score_loses_without_that_post(reasons: Reasons) -> None:
    tensors, tables = reasons.tensors, some_tables(reasons.tensors)
    neighbours = reasons._neighbours(USER, [])
    lifts = reasons._lifts(POST, neighbours)
    without = tables.user_state_sum.copy()
    without[USER] -= tables.post_message[neighbours[0]]
    full, less = (reference_scores(t, Row(USER)) for t in (tables, replace(tables, user_state_sum=without)))
    lost = full - less
    assert lifts[0] == pytest.approx(lost[POST] - lost.mean(), rel=1e-3, abs=1e-4)
    assert len(neighbours) == tables.user_state_count[USER]
    assert tensors.num_posts == len(lost)


def test_reasons_are_of_the_history_the_heaviest_first(reasons: Reasons) -> None:
    told = reasons.tell(40, [1000 + row for row in range(30)], [])
    history = {event["post_id"] for event in told["history"]}
    given = [post["reasons"] for post in told["posts"] if post["reasons"]]
    assert given
    for found in given:
        assert [reason["share"] for reason in found] == sorted((r["share"] for r in found), reverse=True)
        assert all(0.1 <= reason["share"] <= 1 for reason in found)
        assert {reason["post_id"] for reason in found} <= history


def test_a_history_is_told_latest_first_each_post_once(reasons: Reasons) -> None:
    told = reasons.tell(int(reasons.people()[0]), [], [])
    times = [event["at"] for event in told["history"]]
    assert times == sorted(times, reverse=True)
    posts = [event["post_id"] for event in told["history"]]
    assert len(posts) == len(set(posts))
    assert sum(tag["posts"] for tag in told["tags"]) >= 1


def test_a_stranger_has_no_history_and_his_recent_posts_are_his_reasons(reasons: Reasons) -> None:
    told = reasons.tell(-404, [1005, 999_999], [1003])
    assert (told["known"], told["history"], told["tags"]) == (False, [], [])
    assert {reason["post_id"] for reason in told["posts"][0]["reasons"]} <= {"1003"}
    assert told["posts"][1] == {"post_id": "999999", "title": "post 999999", "tags": [], "reasons": []}


def test_keys_of_text_are_told_as_they_are() -> None:
    reasons = reasons_of(keyed_by_strings(some_tensors()))
    told = reasons.tell(uuid_at(USER), [slug_at(POST)], [])
    assert told["known"]
    assert told["posts"][0]["post_id"] == slug_at(POST)
    assert set(reasons.people()) <= {uuid_at(row) for row in range(12)}


def test_people_to_try_have_a_history_and_stay_the_same(reasons: Reasons) -> None:
    people = reasons.people()
    assert people == reasons.people()
    assert all(reasons.tell(int(person), [], [])["history_posts"] >= 4 for person in people)


def test_a_file_that_is_no_model_of_ours_is_corrupt() -> None:
    with pytest.raises(CorruptObject, match="no tables of posts"):
        read_tables(b"something else")


@pytest.mark.parametrize(
    ("text", "title"), [("\n\n  A beach \nbody", "A beach"), ("", ""), ("x" * 500, "x" * 119 + "…"), ("\n \n", "")]
)
def test_a_title_is_the_first_line_that_says_anything(text: str, title: str) -> None:
    assert title_of(text) == title


def test_an_impossible_time_is_no_time() -> None:
    tensors = some_tensors()
    far = np.full(len(tensors.interactions), 2**62)
    told = reasons_of(replace(tensors, interactions=replace(tensors.interactions, created_at=far))).tell(40, [], [])
    assert {event["at"] for event in told["history"]} == {None}
