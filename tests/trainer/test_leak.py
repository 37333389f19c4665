"""Worlds without any taste: nobody can foresee a pair there, so whoever ranks it highly has seen it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.factories import some_tensors
from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions
from waypost.model.graphsage import GraphSAGE
from waypost.settings import TrainerSettings
from waypost.trainer.fit import fit
from waypost.trainer.leak import PROBED_USERS, LeakProbe, probe_leak
from waypost.trainer.split import Split, split

USERS, POSTS, SHARE = 150, 120, 0.2
SETTINGS = TrainerSettings(dim=16, layers=2, threads=1, epochs=30, holdout_share=SHARE)


def a_world_of_chance(*, timed: bool = False) -> GraphTensors:
    choose = np.random.default_rng(1)
    drawn = np.stack((np.repeat(np.arange(USERS), 12), choose.integers(0, POSTS, USERS * 12)), 1)
    user, post = np.unique(drawn, axis=0).astype(np.int32).T
    times = choose.permutation(len(user)) * 10**9 if timed else np.full(len(user), NO_TIME)
    interactions = Interactions(user, post, np.zeros(len(user), np.uint8), times)
    return some_tensors(num_users=USERS, num_posts=POSTS, num_tags=0, interactions=interactions)


def probed(model: GraphSAGE, tensors: GraphTensors, cut: Split) -> LeakProbe:
    return probe_leak(model, tensors, cut, np.unique(cut.holdout_user), seed=1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("timed", [False, True], ids=["without times", "with times"])
def test_an_honest_model_ranks_what_it_was_trained_on_higher_and_one_that_saw_the_holdout_both_alike(
    timed: bool,
) -> None:
    tensors = a_world_of_chance(timed=timed)
    cut = split(tensors, SHARE, seed=1)
    assert cut.temporal == timed
    honest = probed(fit(tensors, cut.train, SETTINGS, seed=1), tensors, cut)
    leaked = probed(fit(tensors, tensors.interactions, SETTINGS, seed=1), tensors, cut)
    assert len(honest.trained) == len(leaked.trained) > 100
    assert honest.held_out.mean() == pytest.approx(0.5, abs=0.1)  # chance
    assert honest.gap > 0.25 + honest.gap_ci95
    assert abs(leaked.gap) < 0.1
    assert leaked.held_out.mean() > 0.8


def test_a_probed_pair_is_hidden_so_that_only_the_weights_can_know_it() -> None:
    """A model without trained weights knows pairs from the graph alone: trained ones then look like any others."""
    tensors = a_world_of_chance()
    cut = split(tensors, SHARE, seed=1)
    model = fit(tensors, cut.train, SETTINGS.model_copy(update={"epochs": 1}), seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for ids in (model.user_id, model.post_id):
            ids.copy_(torch.randn(ids.shape, generator=generator))
    probe = probed(model, tensors, cut)
    assert abs(probe.gap) < 2 * probe.gap_ci95
    assert probe.trained.mean() == pytest.approx(0.5, abs=0.08)


def test_with_times_the_pair_that_is_nearest_to_the_holdout_is_probed() -> None:
    tensors = a_world_of_chance(timed=True)
    cut = split(tensors, SHARE, seed=1)
    late = replace(cut, train=replace(cut.train, created_at=np.arange(len(cut.train))[::-1].copy()))
    model = fit(tensors, cut.train, SETTINGS.model_copy(update={"epochs": 3}), seed=1)
    assert not np.array_equal(probed(model, tensors, cut).trained, probed(model, tensors, late).trained)
    assert np.array_equal(probed(model, tensors, cut).trained, probed(model, tensors, cut).trained)


def test_few_are_probed_where_few_can_be_and_never_too_many() -> None:
    tensors = a_world_of_chance()
    cut = split(tensors, SHARE, seed=1)
    model = fit(tensors, cut.train, SETTINGS.model_copy(update={"epochs": 1}), seed=1)
    users = np.unique(cut.holdout_user)
    assert len(probe_leak(model, tensors, cut, users[:1], seed=1).trained) <= 1
    assert len(probe_leak(model, tensors, cut, users[:0], seed=1).trained) == 0
    assert len(probe_leak(model, tensors, cut, users, seed=1).trained) <= min(PROBED_USERS, 0.1 * len(cut.train) + 1)
    none = replace(cut, holdout_user=cut.holdout_user[:0], holdout_post=cut.holdout_post[:0])
    assert probe_leak(model, tensors, none, users, seed=1).gap == 0.0


def test_only_known_posts_are_asked_for() -> None:
    """Held-out pairs with posts that had no reader in training say nothing of what was memorised."""
    tensors = a_world_of_chance()
    known = tensors.interactions.post < POSTS // 2
    cut = Split(
        train=tensors.interactions.take(known),
        seen=tensors.interactions.take(known),
        holdout_user=tensors.interactions.user[~known],
        holdout_post=tensors.interactions.post[~known],
        boundary=NO_TIME,
        temporal=False,
    )
    model = fit(tensors, cut.train, SETTINGS.model_copy(update={"epochs": 1}), seed=1)
    assert len(probed(model, tensors, cut).trained) == 0
