"""Seconds to a target: when the clock runs, what counts as reached, what is told of a peer that was stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bench.full.__main__ import misses, told
from bench.full.recbole import placed
from bench.graph_files import NULL, GraphFiles
from bench.quality.cuts import cut_random_per_user
from bench.rankers import ALS, LIGHTGCN, OURS, LightGCNSettings, TunedAls, chase_als, chase_lightgcn, chase_ours
from bench.reaching import Chase, Over, Reached, Task, chased, score_by

from bench import gpu
from waypost.settings import TrainerSettings


def a_task(target: float, stop_seconds: float = 60.0) -> Task:
    """Two groups of users, each with half of the posts."""
    choose = np.random.default_rng(0)
    pairs = [(user, post) for user in range(40) for post in range(30) if user % 2 == post % 2 and choose.random() < 0.6]
    files = GraphFiles(
        users=[(str(user), NULL) for user in range(40)],
        posts=[(str(post), NULL, NULL, NULL, NULL) for post in range(30)],
        interactions=[(str(user), str(post), "view", NULL) for user, post in pairs],
    )
    return Task.of(files, cut_random_per_user(files.interactions, 0.2, seed=1), target, stop_seconds)


TASK = a_task(target=0.5)
FEW_STEPS = TrainerSettings(threads=1, epochs=30, dim=16)


def test_time_in_a_pause_is_no_training() -> None:
    times = iter([100.0, 103.0, 150.0, 151.0])
    chase = Chase("a ranker", TASK, clock=lambda: next(times))
    with chase.pause():
        """From 103 to 150."""
    assert chase.trained_seconds == 4.0


def test_a_judgement_is_due_when_training_has_gone_on_by_a_tenth() -> None:
    now = [0.0]
    chase = Chase("a ranker", TASK, clock=lambda: now[0])
    chase.note(10.0, 0.1)
    assert [chase.is_due() for now[0] in (10.9, 11.1)] == [False, True]


def test_the_first_judgement_at_the_target_ends_it() -> None:
    chase = Chase("a ranker", TASK)
    chase.note(3.0, 0.4)
    with pytest.raises(Over):
        chase.note(4.0, 0.5)
    assert chase.ended() == Reached(4.0, 4.0, 0.5)


def test_a_ranker_that_is_stopped_has_not_reached_it_and_needs_at_least_that_long() -> None:
    chase = Chase("a ranker", replace(TASK, stop_seconds=10.0))
    with pytest.raises(Over):
        chase.note(10.5, 0.4)
    assert chase.ended() == Reached(None, 10.5, 0.4)
    assert chase.ended().at_least() == 10.5


def test_a_training_that_ends_by_itself_is_told_with_its_best() -> None:
    found = chased("a ranker", TASK, lambda chase: chase.note(2.0, 0.3))
    assert (found.seconds, found.best) == (None, 0.3)


def test_every_ranker_of_this_process_reaches_an_easy_target() -> None:
    assert chase_ours(TASK, FEW_STEPS).seconds is not None
    assert chase_als(TASK, TunedAls({"FACTORS": 8})).seconds is not None
    assert chase_lightgcn(TASK, LightGCNSettings(dim=8, learning_rate=0.05)).seconds is not None


def test_a_target_out_of_reach_is_not_reached() -> None:
    task = a_task(target=1.1, stop_seconds=0.2)
    assert chase_ours(task, FEW_STEPS).seconds is None
    assert chase_als(task, TunedAls(iterations=(1, 2))).seconds is None
    assert chase_lightgcn(task).seconds is None


def test_ratios_are_told_as_at_least_where_a_peer_was_stopped() -> None:
    reached = {OURS: Reached(10.0, 10.0, 0.12), ALS: Reached(5.0, 5.0, 0.12), LIGHTGCN: Reached(None, 1200.0, 0.02)}
    assert [(ranker["shown"], ranker["ratio"]) for ranker in told(reached)] == [
        ("10.0 s", ""),
        ("5.0 s", "0.5"),
        ("at least 1,200.0 s", "at least 120.0"),
    ]
    assert misses(reached) == []


def test_a_lightgcn_that_is_not_ten_times_slower_is_a_miss_and_so_are_we_if_we_do_not_get_there() -> None:
    quick = {OURS: Reached(10.0, 10.0, 0.12), LIGHTGCN: Reached(99.0, 99.0, 0.12)}
    assert misses(quick) == [f"{LIGHTGCN} takes 9.9 times as long as ours, needed 10"]
    assert misses({**quick, OURS: Reached(None, 99.0, 0.08)}) == [f"{OURS} did not reach the NDCG; its best is 0.0800"]


def test_recboles_rows_stand_where_their_ids_do() -> None:
    rows = placed(np.array([[1.0], [2.0]], np.float32), np.array([30, 10]), np.array([10, 20, 30]))
    assert rows.tolist() == [[2.0], [0.0], [1.0]]


def test_scores_are_products_of_rows() -> None:
    score = score_by(np.eye(2, dtype=np.float32), np.array([[1, 2], [3, 4]], np.float32))
    assert score(np.array([1], np.int32)).tolist() == [[2.0, 4.0]]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_bench_refuses_in_one_line_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "torch sees no GPU here; --device cpu runs the same on the processor\n"


def test_the_processor_agrees_with_itself() -> None:
    model, seconds = gpu.train_some(TASK, "cpu", steps=2)
    first, second = gpu.top_lines(TASK, model, ("cpu",))
    assert seconds > 0
    assert first.device == first.cpu
    assert second.device == "1.00000"
    assert gpu.encoders_apart(model, TASK, "cpu") == "0.0e+00"
