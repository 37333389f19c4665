"""A start near the goal: id embeddings from the leading singular vectors of the normalised user-post matrix, those of
tokens and tags from the posts' tf-idf matrix (latent semantic analysis, Deerwester et al. 1990).

Randomised subspace iteration (Halko, Martinsson, Tropp 2011): a few sparse products and a small eigenproblem, seconds
where gradient descent needs minutes to find the same low-pass part of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    left, right = _leading_factors(
        lambda rows: relation.forward.sum(rows, weighted=True),  # D_u^-1/2 A D_p^-1/2
        lambda rows: relation.backward.sum(rows, weighted=True),
        (graph.num_users, graph.num_posts),
        dim,
        seed,
    )
    user[:, : left.shape[1]] = left * graph.user_degree.sqrt()
    post[:, : right.shape[1]] = right * graph.post_degree.sqrt()
    return _with_rms(user), _with_rms(post)


def content_embeddings(graph: Graph, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """(token [vocabulary, dim], tag [num_tags, dim]): posts that share rare words or tags start near each other.

    Right singular vectors of the posts' tf-idf rows, once more times idf, since the encoder sums without it; so scaled
    that the content of a post is as loud as its id. Zero where posts have no content.
    """
    relations = [graph.post_tokens, graph.relations.get("tags_of_post")]
    terms = [_Terms(relation, graph.num_posts) for relation in relations if relation is not None]
    found = iter(_term_vectors(terms, graph.num_posts, dim, seed) if terms else [])
    token = torch.zeros(0, dim) if relations[0] is None else next(found)
    tag = torch.zeros(graph.num_tags, dim) if relations[1] is None else next(found)
    return token, tag


@dataclass(frozen=True, eq=False)
class _Terms:
    """One kind of content as a matrix: a post's row is Σ idf / √(number of terms), about as long for every post."""

    relation: Adjacency  # posts <- terms, by plain means
    num_posts: int

    @property
    def idf(self) -> Tensor:
        """[num_terms, 1]"""
        return (self.num_posts / self.relation.backward.degrees().clamp_min(1)).log().clamp_min(0.0)[:, None]

    @property
    def length(self) -> Tensor:
        """[num_posts, 1] what turns a mean of terms into Σ / √n"""
        return self.relation.forward.degrees().sqrt()[:, None]

    def to_posts(self, rows: Tensor) -> Tensor:
        return self.relation.forward.sum(rows * self.idf, weighted=True) * self.length

    def from_posts(self, rows: Tensor) -> Tensor:
        return self.relation.backward.sum(rows * self.length, weighted=True) * self.idf


def _term_vectors(terms: Sequence[_Terms], num_posts: int, dim: int, seed: int) -> list[Tensor]:
    """[num_terms, dim] of each kind."""
    sizes = [len(kind.relation.backward.degrees()) for kind in terms]

    def to_posts(rows: Tensor) -> Tensor:
        parts = zip(terms, torch.split(rows, sizes), strict=True)
        return torch.stack([kind.to_posts(part) for kind, part in parts]).sum(0)

    def from_posts(rows: Tensor) -> Tensor:
        return torch.cat([kind.from_posts(rows) for kind in terms])

    factors = _leading_factors(to_posts, from_posts, (num_posts, sum(sizes)), dim, seed)[1]
    right = torch.zeros(sum(sizes), dim)
    right[:, : factors.shape[1]] = factors
    vectors = [kind.idf * part for kind, part in zip(terms, torch.split(right, sizes), strict=True)]
    posts = torch.stack([kind.relation.aggregate(part) for kind, part in zip(terms, vectors, strict=True)]).sum(0)
    loudness = posts.pow(2).mean().sqrt().clamp_min(1e-9)
    return [part * (START_RMS / loudness) for part in vectors]


def _leading_factors(
    forward: Callable[[Tensor], Tensor],
    backward: Callable[[Tensor], Tensor],
    shape: tuple[int, int],
    rank: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """(left [rows, rank], right [columns, rank]): leading singular vectors of the matrix that `forward` multiplies by.

    `backward` multiplies by its transpose; the rank is at most the smaller side of `shape`.
    """
    generator = torch.Generator().manual_seed(seed)
    rank = min(rank, *shape)
    basis = torch.randn(shape[1], min(rank + OVERSAMPLING, *shape), generator=generator)
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(forward(basis))[0]
        basis = torch.linalg.qr(backward(basis))[0]
    image = forward(basis)
    squared, turn = torch.linalg.eigh(image.T @ image)
    strength, turn = squared.flip(0)[:rank].clamp_min(1e-9).sqrt(), turn.flip(1)[:, :rank]
    return image @ turn / strength, basis @ turn


def _with_rms(rows: Tensor) -> Tensor:
    used = rows[rows.abs().sum(1) > 0]
    return rows * (START_RMS / used.pow(2).mean().sqrt()) if len(used) else rows
