"""Train GraphSAGE on the whole graph: every step passes all nodes once, and judges one batch of user-post pairs.

A step draws pairs, hides each pair's own post from its user (serving asks the same: what else would he like?), lets
some nodes be cold (no id, no users) so that content learns to carry, and follows the sampled softmax with Adam. A pair
pulls by the weight of its kind: one of weight 2 counts as two pairs of weight 1 in the loss, yet is one edge. The start
is spectral. The number of steps comes from the size of the graph, never from a clock, so that the same seed and one
thread give the same model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions
from waypost.logs import stage
from waypost.model.ageing import fit_age_curve, post_birth
from waypost.model.features import VOCABULARY_SIZE
from waypost.model.graphsage import ALPHA, Embeddings, Graph, GraphSAGE, Warmth, everything_warm, to_graph
from waypost.model.kinds import weigh_pairs
from waypost.model.loss import Batch, batch_loss
from waypost.settings import TrainerSettings
from waypost.trainer.loop import UNKEPT, Curve, StateKeeper, TrainingState, train
from waypost.trainer.spectral import content_embeddings, spectral_embeddings

logger = logging.getLogger(__name__)

BATCH = 8_192  # pairs a step at most; the pass over the graph costs the same for any batch
MIN_BATCH = 256  # small graphs draw a quarter of their pairs, so that they train in seconds
# Shared by the batch; more of them sharpen the top of the lists. A tenth of the posts, as far as a step's time allows.
NEGATIVES_SHARE, MIN_NEGATIVES, MAX_NEGATIVES = 0.1, 1_024, 4_096
LEARNING_RATE = 0.01
L2 = 0.1  # on the batch's user and post vectors; see docs/experiments.md
WARM_UP_STEPS = 50
DECAY_SHARE = 0.9  # of the steps, at the end, over which the learning rate falls to zero
COLD_POSTS = 0.15  # of the posts in a step, where posts have content
COLD_USERS = 0.3  # of the users in a step: they learn to be the sum of their posts
PASSES = 20  # over all pairs, when there is time for them
MIN_STEPS = 300  # small graphs take more passes: so many steps the start needs to settle
# What a step takes on two cores with three layers of 128: estimates for the default number of steps, no clock is read.
BUDGET_SECONDS = 400.0
SECONDS_PER_STEP, SECONDS_PER_EDGE, SECONDS_PER_NODE = 0.05, 60e-9, 0.7e-6
CONTINUED_SHARE = 0.15  # of the steps, when a night begins with the last one's weights
CONTINUED_LEARNING_RATE = 0.003


@dataclass(frozen=True, eq=False)
class _Examples:
    """What steps draw from."""

    user: Tensor  # [num_pairs] distinct pairs
    post: Tensor  # [num_pairs]
    weight: Tensor  # [num_pairs] of mean 1
    candidates: Tensor  # posts that were there to be chosen
    offset: Tensor  # [num_posts] log of the attention a post of its age could expect


@dataclass(frozen=True, eq=False)
class Fitted:
    model: GraphSAGE  # on the CPU
    curve: Curve  # of losses; empty when there was nothing to learn


def fit(
    tensors: GraphTensors,
    interactions: Interactions,
    settings: TrainerSettings,
    seed: int,
    init: GraphSAGE | None = None,
) -> GraphSAGE:
    """The model alone of `fit_with_curve`."""
    return fit_with_curve(tensors, interactions, settings, seed, init).model


def fit_with_curve(
    tensors: GraphTensors,
    interactions: Interactions,
    settings: TrainerSettings,
    seed: int,
    init: GraphSAGE | None = None,
    share: float = CONTINUED_SHARE,
    keeper: StateKeeper = UNKEPT,
) -> Fitted:
    """A model of these interactions, all of kinds with a weight (see `taught`).

    With `init`, that model taught further, for `share` of the steps: same tensors, other interactions. With a keeper,
    a training that was killed goes on where it kept its state last.
    """
    graph = to_graph(tensors, interactions, VOCABULARY_SIZE)
    model = init or start_model(tensors, graph, settings, seed)
    examples = _examples(tensors, interactions)
    steps = plan_steps(graph, settings.epochs)
    rate = LEARNING_RATE
    if init is not None:
        steps, rate = max(1, round(steps * share)), CONTINUED_LEARNING_RATE
    curve: Curve = []
    if len(examples.user):
        with prepared_torch(settings), stage(logger, "model trained", steps=steps, pairs=len(examples.user)):
            curve = _train(model.to(settings.device), graph, examples, steps, rate, settings.device, seed, keeper)
    return Fitted(model.to("cpu"), curve)


def batch_size(num_pairs: int) -> int:
    return min(BATCH, max(MIN_BATCH, num_pairs // 4))


def num_negatives(num_posts: int) -> int:
    """Posts that every pair of a step competes with."""
    return min(MAX_NEGATIVES, max(MIN_NEGATIVES, round(NEGATIVES_SHARE * num_posts)))


def plan_steps(graph: Graph, epochs: int | None) -> int:
    """Steps that see every pair `epochs` times; by default a number that keeps the night short."""
    num_pairs = int(graph.user_degree.sum())
    if epochs is not None:
        return max(1, round(epochs * num_pairs / batch_size(num_pairs)))
    num_nodes = graph.num_users + graph.num_posts + graph.num_tags
    seconds = SECONDS_PER_STEP + SECONDS_PER_EDGE * graph.num_edges() + SECONDS_PER_NODE * num_nodes
    return max(MIN_STEPS, min(round(PASSES * num_pairs / BATCH), round(BUDGET_SECONDS / seconds)))


def start_model(tensors: GraphTensors, graph: Graph, settings: TrainerSettings, seed: int) -> GraphSAGE:
    model = GraphSAGE(
        tensors.num_users, tensors.num_posts, tensors.num_tags, VOCABULARY_SIZE, settings.dim, settings.layers
    )
    with stage(logger, "spectral start found"), torch.no_grad():
        user, post = spectral_embeddings(graph, settings.dim, seed)
        model.user_id.copy_(user)
        model.post_id.copy_(post)
        token, tag = content_embeddings(graph, settings.dim, seed)
        model.token[: len(token)].copy_(token)
        model.tag.copy_(tag)
    return model


@contextmanager
def prepared_torch(settings: TrainerSettings) -> Iterator[None]:
    """Threads as set; matrix products in bfloat16 where the processor has them in hardware, which torch probes.

    What is computed after the block, the served tables above all, is float32 again.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _examples(tensors: GraphTensors, interactions: Interactions) -> _Examples:
    key, weight = weigh_pairs(tensors, interactions)
    birth = post_birth(tensors.post_created_at, interactions)
    end = int(interactions.created_at.max(initial=NO_TIME))
    there = (birth == NO_TIME) | (birth <= end)
    there[interactions.post] = True
    return _Examples(
        user=torch.from_numpy(key // max(tensors.num_posts, 1)),
        post=torch.from_numpy(key % max(tensors.num_posts, 1)),
        weight=torch.from_numpy(weight),
        candidates=torch.from_numpy(np.flatnonzero(there)),
        offset=torch.from_numpy(training_offsets(tensors, interactions)),
    )


def training_offsets(tensors: GraphTensors, interactions: Interactions) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """[num_posts] log of the attention that each post could expect inside the time the interactions span."""
    birth = post_birth(tensors.post_created_at, interactions)
    curve = fit_age_curve(birth, interactions)
    if curve is None:
        return np.zeros(tensors.num_posts, np.float32)
    timed = interactions.created_at[interactions.created_at != NO_TIME]
    return curve.offsets(birth, int(timed.min()), int(timed.max()))


def _train(
    model: GraphSAGE,
    graph: Graph,
    examples: _Examples,
    steps: int,
    rate: float,
    device: str,
    seed: int,
    keeper: StateKeeper,
) -> Curve:
    on_device = graph.to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    state = TrainingState(model, optimiser, torch.Generator().manual_seed(seed))

    def step_loss(model: GraphSAGE, step: int, generator: torch.Generator) -> Tensor:
        return _step_loss(model, on_device, examples, device, generator)

    return train(state, step_loss, lambda step: _schedule(step, steps), steps, keeper)


def _schedule(step: int, steps: int) -> float:
    """Warm up, stay, then fall linearly to zero."""
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (DECAY_SHARE * steps))


def _step_loss(model: GraphSAGE, graph: Graph, examples: _Examples, device: str, generator: torch.Generator) -> Tensor:
    batch = _draw(graph, examples, device, generator)
    embeddings: Embeddings = model(graph, _warmth(graph, generator), torch.bfloat16)
    return batch_loss(embeddings, batch, L2)


def _draw(graph: Graph, examples: _Examples, device: str, generator: torch.Generator) -> Batch:
    """Pairs at random; each user's state is without the pair's own post, as if he had not met it yet."""
    rows = torch.randint(len(examples.user), (batch_size(len(examples.user)),), generator=generator)
    negatives = num_negatives(len(examples.candidates))
    drawn = torch.randint(len(examples.candidates), (negatives,), generator=generator)
    user, post, negative = examples.user[rows], examples.post[rows], examples.candidates[drawn]
    others = (graph.user_degree[user.to(device)] - 1.0).clamp_min(1.0)
    return Batch(
        user=user.to(device),
        post=post.to(device),
        state_scale=others**-ALPHA,
        post_offset=examples.offset[post].to(device),
        weight=examples.weight[rows].to(device),
        negative=negative.to(device),
        negative_offset=examples.offset[negative].to(device),
    )


def _warmth(graph: Graph, generator: torch.Generator) -> Warmth:
    """Some nodes are cold in each step; posts only where content could take over."""
    warm = everything_warm(graph)
    users = torch.rand(graph.num_users, 1, generator=generator) >= COLD_USERS
    posts = warm.posts
    if graph.post_tokens is not None or "tags_of_post" in graph.relations:
        posts = posts & (torch.rand(graph.num_posts, 1, generator=generator) >= COLD_POSTS).to(posts.device)
    return Warmth(posts, warm.users & users.to(warm.users.device))
