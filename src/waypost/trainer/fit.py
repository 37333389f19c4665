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
from waypost.logs import Progress, stage
from waypost.model.ageing import fit_age_curve, post_birth
from waypost.model.features import VOCABULARY_SIZE
from waypost.model.graphsage import ALPHA, Embeddings, Graph, GraphSAGE, Warmth, everything_warm, to_graph
from waypost.model.kinds import weigh_pairs
from waypost.model.loss import sampled_softmax
from waypost.settings import TrainerSettings
from waypost.trainer.spectral import spectral_embeddings

logger = logging.getLogger(__name__)

BATCH = 8_192  # pairs a step at most; the pass over the graph costs the same for any batch
MIN_BATCH = 256  # small graphs draw a quarter of their pairs, so that they train in seconds
NEGATIVES = 1_024  # shared by the batch
LEARNING_RATE = 0.01
L2 = 0.04  # on the batch's user and post vectors; see docs/experiments.md
WARM_UP_STEPS = 50
DECAY_SHARE = 0.4  # of the steps, at the end, over which the learning rate falls to zero
COLD_POSTS = 0.15  # of the posts in a step, where posts have content
COLD_USERS = 0.1  # of the users in a step
PASSES = 14  # over all pairs, when there is time for them
MIN_STEPS = 300  # small graphs take more passes: so many steps the start needs to settle
# What a step takes on two cores with three layers: estimates for the default number of steps, no clock is read.
BUDGET_SECONDS = 150.0
SECONDS_PER_STEP, SECONDS_PER_EDGE, SECONDS_PER_NODE = 0.02, 30e-9, 0.45e-6
CONTINUED_SHARE = 0.15  # of the steps, when a trained model learns the held-out interactions too
CONTINUED_LEARNING_RATE = 0.003


@dataclass(frozen=True, eq=False)
class _Examples:
    """What steps draw from."""

    user: Tensor  # [num_pairs] distinct pairs
    post: Tensor  # [num_pairs]
    weight: Tensor  # [num_pairs] of mean 1
    candidates: Tensor  # posts that were there to be chosen
    offset: Tensor  # [num_posts] log of the attention a post of its age could expect


def fit(
    tensors: GraphTensors,
    interactions: Interactions,
    settings: TrainerSettings,
    seed: int,
    init: GraphSAGE | None = None,
) -> GraphSAGE:
    """A model of these interactions, all of kinds with a weight (see `taught`).

    With `init`, that model taught further: same tensors, more interactions.
    """
    graph = to_graph(tensors, interactions, VOCABULARY_SIZE)
    model = init or start_model(tensors, graph, settings, seed)
    examples = _examples(tensors, interactions)
    steps = plan_steps(graph, settings.epochs)
    rate = LEARNING_RATE
    if init is not None:
        steps, rate = max(1, round(steps * CONTINUED_SHARE)), CONTINUED_LEARNING_RATE
    if len(examples.user):
        with prepared_torch(settings), stage(logger, "model trained", steps=steps, pairs=len(examples.user)):
            _train(model.to(settings.device), graph, examples, steps, rate, settings.device, seed)
    return model.to("cpu")


def batch_size(num_pairs: int) -> int:
    return min(BATCH, max(MIN_BATCH, num_pairs // 4))


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
    model: GraphSAGE, graph: Graph, examples: _Examples, steps: int, rate: float, device: str, seed: int
) -> None:
    graph = graph.to(device)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    progress = Progress(logger, "training", "steps", steps)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * _schedule(step, steps)
        loss = _step_loss(model, graph, examples, device, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress.advance(1, loss=round(loss.item(), 4))


def _schedule(step: int, steps: int) -> float:
    """Warm up, stay, then fall linearly to zero."""
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (DECAY_SHARE * steps))


def _step_loss(model: GraphSAGE, graph: Graph, examples: _Examples, device: str, generator: torch.Generator) -> Tensor:
    rows = torch.randint(len(examples.user), (batch_size(len(examples.user)),), generator=generator)
    drawn = torch.randint(len(examples.candidates), (NEGATIVES,), generator=generator)
    user, post, weight = (column[rows].to(device) for column in (examples.user, examples.post, examples.weight))
    negative = examples.candidates[drawn].to(device)
    embeddings: Embeddings = model(graph, _warmth(graph, generator), torch.bfloat16)
    users = _users_without(embeddings, graph, user, post)
    posts = embeddings.post.float()  # before rows are picked, so that a popular post's gradients add up in float32
    positives = posts[post]
    offset = examples.offset.to(device)
    loss = sampled_softmax(users, positives, posts[negative], offset[post], offset[negative], weight)
    penalty: Tensor = (weight * users.pow(2).sum(1)).mean() + (weight * positives.pow(2).sum(1)).mean()
    return loss + L2 / 2 * penalty


def _users_without(embeddings: Embeddings, graph: Graph, user: Tensor, post: Tensor) -> Tensor:
    """[batch, dim] the vectors that these users would have had before they met these posts."""
    others = (graph.user_degree[user] - 1.0).clamp_min(1.0)
    state = embeddings.state_sum.float()[user] - embeddings.message.float()[post]
    users: Tensor = embeddings.own.float()[user] + state * others**-ALPHA
    return users


def _warmth(graph: Graph, generator: torch.Generator) -> Warmth:
    """Some nodes are cold in each step; posts only where content could take over."""
    warm = everything_warm(graph)
    users = torch.rand(graph.num_users, 1, generator=generator) >= COLD_USERS
    posts = warm.posts
    if graph.post_tokens is not None or "tags_of_post" in graph.relations:
        posts = posts & (torch.rand(graph.num_posts, 1, generator=generator) >= COLD_POSTS).to(posts.device)
    return Warmth(posts, warm.users & users.to(warm.users.device))
