"""Models to show to the gate: the ways in which a night's model can be ruined, and honest retrains of every sort.

Some are ruined where it happens in life (other data, other weights), some in what the pass over the graph yields, as a
wrong index or a lost table would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from tests.gate.world import a_world
from waypost.graph.tensors import GraphTensors, Interactions
from waypost.model.graphsage import ALPHA, Embeddings, Graph, GraphSAGE, Warmth
from waypost.settings import TrainerSettings
from waypost.trainer.fit import fit
from waypost.trainer.holdout import HoldoutReport, measure
from waypost.trainer.segments import HEAD, segments_of
from waypost.trainer.split import Split, split

LATEST_SHARE = 0.02  # of the training part came since the served model was trained
NOISE = 2.0  # times the vectors' own size


@dataclass(frozen=True, eq=False)
class Tonight:
    """The graph of a night, and the model that is served while it runs."""

    tensors: GraphTensors
    cut: Split
    settings: TrainerSettings
    served: GraphSAGE
    interactions: int  # of the world, for another one of the same size
    seed: int

    def train(self, interactions: Interactions, seed: int = 0, init: GraphSAGE | None = None) -> GraphSAGE:
        return fit(self.tensors, interactions, self.settings, self.seed + seed, copy.deepcopy(init))

    def judge(self, model: GraphSAGE, served: GraphSAGE | None = None) -> HoldoutReport:
        return measure(model, self.tensors, self.cut, self.settings, served or self.served)

    def random(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000 + sum(name.encode()))


def a_night(interactions: int, seed: int, settings: TrainerSettings) -> Tonight:
    tensors = a_world(interactions, seed)
    cut = split(tensors, settings.holdout_share, settings.seed)
    served = fit(tensors, _before_the_latest(cut.train), settings, seed)
    return Tonight(tensors, cut, settings, served, interactions, seed)


def _before_the_latest(train: Interactions, share: float = LATEST_SHARE) -> Interactions:
    return train.take(train.created_at < np.quantile(train.created_at, 1.0 - share))


# Ruined


class Altered(GraphSAGE):
    """A model whose pass over the graph yields something else than it should."""

    def __init__(self, model: GraphSAGE, alter: Callable[[Embeddings, Graph], Embeddings], *without: str) -> None:
        super().__init__(**model.shape())
        self.load_state_dict(model.state_dict())
        self._alter, self._without = alter, without

    def forward(self, graph: Graph, warmth: Warmth | None = None, dtype: torch.dtype = torch.float32) -> Embeddings:
        relations = {name: relation for name, relation in graph.relations.items() if name not in self._without}
        return self._alter(super().forward(replace(graph, relations=relations), warmth, dtype), graph)


def altered(model: GraphSAGE, **rows: Callable[[Tensor], Tensor]) -> GraphSAGE:
    """`post=…`, `message=…`, `own=…`, `state_sum=…`: what becomes of those rows."""

    def alter(found: Embeddings, graph: Graph) -> Embeddings:
        return replace(found, **{name: change(cast(Tensor, getattr(found, name))) for name, change in rows.items()})

    return Altered(model, alter)


def without_relations(model: GraphSAGE, *names: str) -> GraphSAGE:
    return Altered(model, lambda found, graph: found, *names)


def reweighted(model: GraphSAGE, **weights: Callable[[Tensor], Tensor]) -> GraphSAGE:
    """`post_id=…` and the like: what becomes of those weights; `every=…` of all."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            change = weights.get("every") or weights.get(name)
            if change:
                parameter.copy_(change(parameter))
    return changed


def without_posts(model: GraphSAGE, mask: np.ndarray) -> GraphSAGE:
    """Posts that hardly anybody's list will show: they point away from what all users share."""
    gone = torch.from_numpy(mask)[:, None]

    def alter(found: Embeddings, graph: Graph) -> Embeddings:
        users = found.own + found.state_sum * graph.user_degree.clamp_min(1.0) ** -ALPHA
        return replace(found, post=torch.where(gone, -100.0 * users.mean(0), found.post))

    return Altered(model, alter)


def zero(rows: Tensor) -> Tensor:
    return torch.zeros_like(rows)


def zero_where(mask: np.ndarray) -> Callable[[Tensor], Tensor]:
    return lambda rows: rows * torch.from_numpy(~mask)[:, None]


def permuted(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """The same order for every table of one length."""
    state = generator.get_state()

    def change(rows: Tensor) -> Tensor:
        generator.set_state(state)
        return rows[torch.randperm(len(rows), generator=generator)]

    return change


def noisy(generator: torch.Generator, times: float) -> Callable[[Tensor], Tensor]:
    return lambda rows: rows + times * rows.std() * torch.randn(rows.shape, generator=generator)


def projected(dims: int) -> Callable[[Tensor], Tensor]:
    def change(rows: Tensor) -> Tensor:
        left, strength, right = torch.linalg.svd(rows, full_matrices=False)
        return cast(Tensor, left[:, :dims] * strength[:dims] @ right[:dims])

    return change


def with_one(value: float) -> Callable[[Tensor], Tensor]:
    def change(rows: Tensor) -> Tensor:
        changed = rows.clone()
        changed[len(rows) // 2, 0] = value
        return changed

    return change


Ruin = Callable[[Tonight, GraphSAGE], GraphSAGE]  # from an honest model of tonight


def shuffled_posts(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    order = permuted(night.random("posts"))
    return altered(model, post=order, message=order)


def shuffled_users(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    order = permuted(night.random("users"))
    return altered(model, own=order, state_sum=order)


def users_one_row_off(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, own=lambda rows: rows.roll(1, 0), state_sum=lambda rows: rows.roll(1, 0))


def posts_one_row_off(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, post=lambda rows: rows.roll(1, 0))


def random_weights(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    generator = night.random("weights")
    return reweighted(model, every=lambda rows: 0.2 * torch.randn(rows.shape, generator=generator))


def leaked_holdout(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return night.train(night.tensors.interactions)


def one_direction(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, post=lambda rows: rows.mean(0) + 1e-4 * rows)


def two_directions(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, post=projected(2))


def popularity_in_disguise(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    """Every user a little different, and all of them after what everybody has."""
    popularity = np.bincount(night.cut.train.post, minlength=night.tensors.num_posts)
    axis = torch.zeros(model.dim)
    axis[0] = 1.0
    loud = torch.from_numpy(np.log1p(popularity)).float()[:, None] * axis
    generator = night.random("disguise")
    return altered(
        model,
        post=lambda rows: loud + 0.01 * rows / rows.std(),
        own=lambda rows: axis * 5.0 + 0.1 * torch.randn(rows.shape, generator=generator),
        state_sum=zero,
    )


def half_the_posts_missing(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return without_posts(model, np.arange(night.tensors.num_posts) % 2 == 0)


def half_the_posts_zero(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, post=zero_where(np.arange(night.tensors.num_posts) % 2 == 0))


def tail_missing(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    head = next(segment for segment in segments_of(night.tensors, night.cut.train) if segment.name == HEAD)
    return without_posts(model, ~head.posts)


def new_posts_missing(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    known = np.bincount(night.cut.train.post, minlength=night.tensors.num_posts) > 0
    return without_posts(model, ~known)


def a_nan(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, post=with_one(float("nan")))


def an_infinity(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, state_sum=with_one(float("inf")))


def sign_flipped(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, post=lambda rows: -rows)


def noise_added(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, post=noisy(night.random("noise"), NOISE))


def last_years_data(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return night.train(_before_the_latest(night.cut.train, 0.5))


def one_kind_only(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    train = night.cut.train
    return night.train(train.take(train.kind == night.tensors.kinds.index("comment")))


def another_graph(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    other = a_world(night.interactions, night.seed + 500)
    sizes = [(graph.num_users, graph.num_posts, graph.num_tags) for graph in (other, night.tensors)]
    assert sizes[0] == sizes[1]
    return fit(other, split(other, night.settings.holdout_share, 1).train, night.settings, night.seed)


def shuffled_content(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    """Another tokenizer's tokens, and another list of tags."""
    return reweighted(model, token=permuted(night.random("tokens")), tag=permuted(night.random("tags")))


def content_lost(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return reweighted(model, token=zero, tag=zero)


def ids_lost(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return reweighted(model, user_id=zero, post_id=zero)


def interactions_dropped(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return without_relations(model, "users_of_post", "posts_of_user")


def states_one_row_off(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, state_sum=lambda rows: rows.roll(1, 0))


def rounded_to_nothing(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return reweighted(model, every=lambda rows: rows.div(2 * float(rows.std()) or 1.0).round())


def regularised_to_zero(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return reweighted(model, every=zero)


def learning_rate_exploded(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return reweighted(model, every=noisy(night.random("explosion"), 30.0))


def state_sums_missing(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    return altered(model, state_sum=zero)


def half_the_users_missing(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    gone = zero_where(np.arange(night.tensors.num_users) % 2 == 0)
    return altered(model, own=gone, state_sum=gone)


def one_offset_for_all(night: Tonight, model: GraphSAGE) -> GraphSAGE:
    """A thousand times as long as a user's own vector, whatever the loss lets the mean of all be."""

    def shifted(rows: Tensor) -> Tensor:
        mean = rows.mean(0)
        moved: Tensor = rows + 1_000.0 * rows.norm(dim=1).mean() * mean / mean.norm()
        return moved

    return altered(model, own=shifted)


RUINS: tuple[Ruin, ...] = (
    shuffled_posts, shuffled_users, users_one_row_off, posts_one_row_off, random_weights, leaked_holdout, one_direction,
    two_directions, popularity_in_disguise, half_the_posts_missing, half_the_posts_zero, tail_missing,
    new_posts_missing, a_nan, an_infinity, sign_flipped, noise_added, last_years_data, one_kind_only, another_graph,
    shuffled_content, content_lost, ids_lost, interactions_dropped, states_one_row_off, rounded_to_nothing,
    regularised_to_zero, learning_rate_exploded, state_sums_missing, half_the_users_missing, one_offset_for_all,
)  # fmt: skip


# Honest


def honest_retrain(night: Tonight, number: int) -> GraphSAGE:
    """Of three sorts in turn: another seed, a few interactions less, and the served model taught further."""
    train = night.cut.train
    kept = np.random.default_rng(night.seed * 100 + number).random(len(train)) >= 0.01
    if number % 3 == 0:
        return night.train(train, seed=1 + number)
    if number % 3 == 1:
        return night.train(train.take(kept), seed=1 + number)
    return night.train(train.take(kept), seed=1 + number, init=night.served)
