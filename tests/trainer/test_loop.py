"""The loop on a model of a dozen users: what it tells, and that a state put back goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from waypost.errors import CorruptObject
from waypost.model.graphsage import GraphSAGE
from waypost.trainer.loop import CURVE_POINTS, SavedState, TrainingState, put_back, saved, train

STEPS = 40


def a_state(seed: int = 0, dim: int = 8) -> TrainingState:
    model = GraphSAGE(num_users=12, num_posts=9, num_tags=2, vocabulary=5, dim=dim, layers=1)
    torch.nn.init.normal_(model.user_id, generator=torch.Generator().manual_seed(seed))
    torch.nn.init.normal_(model.post_id, generator=torch.Generator().manual_seed(seed + 1))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    return TrainingState(model, optimiser, torch.Generator().manual_seed(seed))


def a_loss(model: GraphSAGE, step: int, generator: torch.Generator) -> Tensor:
    """Depends on the step's number and on what was drawn before; tags and tokens get no gradient."""
    user, post = torch.randint(12, (4,), generator=generator), torch.randint(9, (4,), generator=generator)
    scores = (model.user_id[user] * model.post_id[post]).sum(1) + model.everyone.sum() * (step + 1)
    return torch.nn.functional.softplus(-scores).mean()


def falling(step: int) -> float:
    return 1.0 - step / STEPS


class Recorder:
    """A keeper that copies every state."""

    def __init__(self, start: SavedState | None = None) -> None:
        self.states: list[SavedState] = []
        self._start = start

    def restore(self, state: TrainingState) -> None:
        if self._start is not None:
            put_back(state, self._start)

    def step_done(self, state: TrainingState) -> None:
        self.states.append(saved(state))

    def finish(self, state: TrainingState) -> None:
        self.step_done(state)


def assert_equal(found: TrainingState, expected: TrainingState) -> None:
    for name, value in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value), name
    assert torch.equal(found.generator.get_state(), expected.generator.get_state())
    assert (found.step, found.curve) == (expected.step, expected.curve)


@pytest.mark.parametrize("at", [1, 2, 17, STEPS - 1, STEPS])
def test_a_state_put_back_goes_on_bit_by_bit(at: int) -> None:
    undisturbed, recorder = a_state(), Recorder()
    train(undisturbed, a_loss, falling, STEPS, recorder)
    resumed = a_state(seed=5)  # whatever it was before
    train(resumed, a_loss, falling, STEPS, Recorder(recorder.states[at - 1]))
    assert_equal(resumed, undisturbed)


def test_without_the_moments_it_would_not() -> None:
    """The control: the tests above can fail."""
    undisturbed, recorder = a_state(), Recorder()
    train(undisturbed, a_loss, falling, STEPS, recorder)
    half = recorder.states[16]
    for forgotten in (
        replace(half, moments={"generator": half.moments["generator"]}),
        replace(half, moments={**half.moments, "generator": a_state().generator.get_state()}),
        replace(half, step=half.step - 1),
    ):
        resumed = a_state()
        train(resumed, a_loss, falling, STEPS, Recorder(forgotten))
        assert not torch.equal(resumed.model.post_id, undisturbed.model.post_id)


def test_keeping_states_changes_no_number() -> None:
    with_keeper, without = a_state(), a_state()
    train(with_keeper, a_loss, falling, STEPS, Recorder())
    train(without, a_loss, falling, STEPS)
    assert_equal(with_keeper, without)


def test_a_copy_is_not_touched_by_later_steps() -> None:
    recorder = Recorder()
    train(a_state(), a_loss, falling, STEPS, recorder)
    assert not torch.equal(recorder.states[0].weights["post_id"], recorder.states[1].weights["post_id"])
    assert recorder.states[0].curve == recorder.states[1].curve[:1]


@pytest.mark.parametrize("steps", [1, 7, STEPS, 1_234])
def test_the_curve_has_about_a_hundred_points_and_ends_at_the_last_step(steps: int) -> None:
    curve = train(a_state(), a_loss, lambda step: 0.1, steps)
    assert min(steps, CURVE_POINTS // 2) <= len(curve) <= CURVE_POINTS + 1
    assert curve[-1].step == steps
    assert [point.step for point in curve] == sorted({point.step for point in curve})


def test_the_schedule_is_a_share_of_the_optimisers_own_rate() -> None:
    still, moved = a_state(), a_state()
    train(still, a_loss, lambda step: 0.0, 5)
    train(moved, a_loss, lambda step: 1.0, 5)
    assert torch.equal(still.model.post_id, a_state().model.post_id)
    assert not torch.equal(moved.model.post_id, a_state().model.post_id)
    assert moved.optimiser.param_groups[0]["lr"] == 0.01


def test_a_state_of_another_model_is_refused_and_nothing_is_changed() -> None:
    recorder = Recorder()
    train(a_state(dim=16), a_loss, falling, 3, recorder)
    here = a_state()
    kept = recorder.states[0]
    own = saved(here)
    for other in (
        kept,
        replace(own, moments={**own.moments, "0.exp_avg": torch.zeros(3)}),
        replace(own, moments={**own.moments, "999.exp_avg": torch.zeros(3)}),
        replace(own, moments={"generator": torch.zeros(3, dtype=torch.uint8)}),
        replace(own, moments={}),
    ):
        with pytest.raises(CorruptObject):
            put_back(here, other)
        assert_equal(here, a_state())
