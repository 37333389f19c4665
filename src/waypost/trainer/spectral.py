"""A start near the goal: id embeddings from the leading singular vectors of the normalised user-post matrix.

Randomised subspace iteration (Halko, Martinsson, Tropp 2011): a few sparse products and a small eigenproblem, seconds
where gradient descent needs minutes to find the same low-pass part of the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from waypost.model.adjacency import Adjacency
from waypost.model.graphsage import Graph

OVERSAMPLING = 32  # extra directions that make the wanted ones accurate
ITERATIONS = 3  # the spectrum falls fast enough; a fourth changed nothing in the trained model
START_RMS = 0.2  # of an embedding's entries: logits start small, so that training is free to move


def spectral_embeddings(graph: Graph, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """(user [num_users, dim], post [num_posts, dim]); rows without interactions are zero."""
    relation = graph.relations.get("posts_of_user")
    user, post = torch.zeros(graph.num_users, dim), torch.zeros(graph.num_posts, dim)
    if relation is None:
        return user, post
    left, strength, right = _leading_factors(relation, graph, min(dim, graph.num_users, graph.num_posts), seed)
    user[:, : len(strength)] = left * strength * graph.user_degree.sqrt()
    post[:, : len(strength)] = right * strength * graph.post_degree.sqrt()
    return _with_rms(user), _with_rms(post)


def _leading_factors(relation: Adjacency, graph: Graph, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(left [num_users, rank], singular values [rank], right [num_posts, rank]) of D_u^-1/2 A D_p^-1/2."""
    generator = torch.Generator().manual_seed(seed)
    width = min(rank + OVERSAMPLING, graph.num_users, graph.num_posts)
    basis = torch.randn(graph.num_posts, width, generator=generator)
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(relation.forward.sum(basis, weighted=True))[0]
        basis = torch.linalg.qr(relation.backward.sum(basis, weighted=True))[0]
    image = relation.forward.sum(basis, weighted=True)
    squared, turn = torch.linalg.eigh(image.T @ image)
    strength, turn = squared.flip(0)[:rank].clamp_min(1e-9).sqrt(), turn.flip(1)[:, :rank]
    return image @ turn / strength, strength, basis @ turn


def _with_rms(rows: Tensor) -> Tensor:
    used = rows[rows.abs().sum(1) > 0]
    return rows * (START_RMS / used.pow(2).mean().sqrt()) if len(used) else rows
