"""From a trained GraphSAGE to the tables that serving needs: one pass over the graph of the night, then numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions
from waypost.model.ageing import fit_age_curve, post_birth
from waypost.model.graphsage import ALPHA, GraphSAGE, to_graph
from waypost.model.serving import ServingTables

DAY_MICROSECONDS = 86_400_000_000
SERVED_DAYS = 7  # what lies ahead of a release: a day if all goes well, some more if nights fail


@dataclass(frozen=True)
class Window:
    """The time that lists are made for, in microseconds since the epoch."""

    start: int
    end: int


def to_serving_tables(
    model: GraphSAGE, tensors: GraphTensors, interactions: Interactions, window: Window | None = None
) -> ServingTables:
    """For the graph of `interactions` and lists shown inside `window`; by default in the days after the last event."""
    graph = to_graph(tensors, interactions, len(model.token))
    with torch.no_grad():
        embeddings = model(graph)
        token, tag = model.content_messages(graph)
        own, post = _with_column(embeddings.own, 1.0), embeddings.post.numpy()
    offset = serving_offsets(tensors, interactions, window or window_ahead(tensors, interactions))
    return ServingTables(
        user_own=own,
        user_state_sum=_with_column(embeddings.state_sum, 0.0),
        user_state_count=graph.user_degree[:, 0].numpy(),
        post_message=_with_column(embeddings.message, 0.0),
        post_vector=np.concatenate((post, offset[:, None]), axis=1),
        token_message=_with_column(token, 0.0),
        tag_message=_with_column(tag, 0.0),
        default_own=_with_column(model.everyone.detach()[None], 1.0)[0],
        weight=np.eye(model.dim + 1, dtype=np.float32),
        alpha=ALPHA,
    )


def window_ahead(tensors: GraphTensors, interactions: Interactions) -> Window:
    """The days after the newest thing the graph knows."""
    newest = max(int(tensors.post_created_at.max(initial=NO_TIME)), int(interactions.created_at.max(initial=NO_TIME)))
    now = max(newest, 0)
    return Window(now, now + SERVED_DAYS * DAY_MICROSECONDS)


def serving_offsets(tensors: GraphTensors, interactions: Interactions, window: Window) -> NDArray[np.float32]:
    """[num_posts] log of the attention each post can expect inside the window; a post's age is never negative."""
    birth = post_birth(tensors.post_created_at, interactions)
    curve = fit_age_curve(birth, interactions)
    if curve is None:
        return np.zeros(tensors.num_posts, np.float32)
    return curve.offsets(np.minimum(birth, window.start), window.start, window.end)


def _with_column(rows: Tensor, value: float) -> NDArray[np.float32]:
    column = torch.full((len(rows), 1), value)
    return torch.cat((rows.detach(), column), dim=1).numpy()
