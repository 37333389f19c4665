"""The training loop: steps that follow a loss, and the state that a step leaves behind for the next.

The state is everything the next step depends on (weights, the optimiser's moments and counts, the generator, the number
of the step), so a loop that goes on from a state ends as one that was never interrupted: bit by bit with one thread.
What a step computes and how fast it moves are given from outside; where a state is kept is the keeper's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from waypost.errors import CorruptObject
from waypost.logs import Progress
from waypost.model.graphsage import GraphSAGE

logger = logging.getLogger(__name__)
CURVE_POINTS = 100  # enough to draw a curve; a loss is read no oftener, for that makes a GPU wait

StepLoss = Callable[[GraphSAGE, int, torch.Generator], Tensor]  # of the step of this number, from 0
Schedule = Callable[[int], float]  # share of the learning rate that the step of this number takes


class CurvePoint(NamedTuple):
    step: int  # from 1
    loss: float


Curve = list[CurvePoint]


@dataclass(eq=False)
class TrainingState:
    model: GraphSAGE
    optimiser: torch.optim.Optimizer  # of the model's parameters, in their order, in one group
    generator: torch.Generator  # the loss draws from this one alone
    step: int = 0  # steps done
    curve: Curve = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class SavedState:
    """A copy of a state, on the CPU: what is written while training goes on."""

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]  # `<parameter's number>.<what>` of the optimiser; `generator`
    step: int
    curve: Curve


class StateKeeper(Protocol):
    """Where states go between steps. None of it changes a number; see resuming.py."""

    def restore(self, state: TrainingState) -> None:
        """Bring the state forward to the newest kept one, where there is one."""

    def step_done(self, state: TrainingState) -> None:
        """Keep the state, if it is time to."""

    def finish(self, state: TrainingState) -> None:
        """The last step is done."""


class Unkept:
    """Of a training that starts anew when it is killed."""

    def restore(self, state: TrainingState) -> None:
        pass

    def step_done(self, state: TrainingState) -> None:
        pass

    def finish(self, state: TrainingState) -> None:
        pass


UNKEPT = Unkept()


def train(
    state: TrainingState, step_loss: StepLoss, schedule: Schedule, steps: int, keeper: StateKeeper = UNKEPT
) -> Curve:
    """Advance the state to `steps`; returns its curve of about CURVE_POINTS losses, the last step's included."""
    rates = [group["lr"] for group in state.optimiser.param_groups]
    between = max(1, -(-steps // CURVE_POINTS))
    keeper.restore(state)
    with Progress(logger, "training", "steps", steps) as progress:
        if state.step:
            logger.info("training goes on", extra={"step": state.step, "of": steps})
            progress.advance(state.step)
        while state.step < steps:
            for group, rate in zip(state.optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(state.step)
            loss = _take_step(state, step_loss)
            if state.step % between == 0 or state.step == steps:
                state.curve.append(CurvePoint(state.step, loss.item()))
            progress.advance(1, **({"loss": round(state.curve[-1].loss, 4)} if state.curve else {}))
            keeper.step_done(state)
    for group, rate in zip(state.optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    keeper.finish(state)
    return state.curve


def _take_step(state: TrainingState, step_loss: StepLoss) -> Tensor:
    loss = step_loss(state.model, state.step, state.generator)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    state.step += 1
    return loss.detach()


def saved(state: TrainingState) -> SavedState:
    """A copy that later steps do not touch."""
    moments = {
        f"{number}.{name}": _copied(value)
        for number, values in state.optimiser.state_dict()["state"].items()
        for name, value in values.items()
    }
    return SavedState(
        weights={name: _copied(value) for name, value in state.model.state_dict().items()},
        moments={**moments, "generator": _copied(state.generator.get_state())},
        step=state.step,
        curve=list(state.curve),
    )


def put_back(state: TrainingState, kept: SavedState) -> None:
    """Make the state what it was when that copy was taken.

    Raises CorruptObject, with the state as it was before, when the copy is of another model or optimiser.
    """
    moments = _moments(state, kept.moments)
    expected = {name: value.shape for name, value in state.model.state_dict().items()}
    if {name: value.shape for name, value in kept.weights.items()} != expected or "generator" not in kept.moments:
        raise CorruptObject("the kept training state is of another model")
    try:
        state.generator.set_state(kept.moments["generator"].clone())
    except (RuntimeError, TypeError) as error:
        raise CorruptObject(f"the kept training state's generator is refused: {error}") from None
    state.model.load_state_dict(dict(kept.weights))
    groups = state.optimiser.state_dict()["param_groups"]
    state.optimiser.load_state_dict({"state": moments, "param_groups": groups})
    state.step, state.curve = kept.step, list(kept.curve)


def _moments(state: TrainingState, kept: Mapping[str, Tensor]) -> dict[int, dict[str, Any]]:
    parameters = [parameter for group in state.optimiser.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Any]] = {}
    for key, value in kept.items():
        number, _, name = key.partition(".")
        if not name:
            continue
        row = int(number) if number.isdigit() else len(parameters)
        if row >= len(parameters) or value.shape not in (parameters[row].shape, torch.Size()):
            raise CorruptObject("the kept training state is of another optimiser")
        moments.setdefault(row, {})[name] = value.clone()  # of memory of its own, aligned as torch aligns it
    return moments


def _copied(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True)
