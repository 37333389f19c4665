"""The start of training: what shares users, or rare words and tags, starts near each other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tests.factories import some_tensors
from waypost.graph.tensors import GraphTensors, csr_from_pairs
from waypost.model.graphsage import Graph, to_graph
from waypost.trainer.spectral import START_RMS, content_embeddings

EVERYWHERE, LISBON, ALASKA, VOCABULARY, DIM = 0, 1, 2, 20, 8


def the_graph(tensors: GraphTensors) -> Graph:
    return to_graph(tensors, tensors.interactions, VOCABULARY)


def with_words() -> GraphTensors:
    """Even posts are about Lisbon, odd ones about Alaska; all share one word, and each seventh another."""
    post = np.arange(30)
    words = csr_from_pairs(
        np.tile(post, 3), np.concatenate((post * 0 + EVERYWHERE, post % 2 + LISBON, post % 7 + 3)), len(post)
    )
    return some_tensors(num_tags=0, post_tokens=words)


def content_of(graph: Graph, token: Tensor) -> Tensor:
    assert graph.post_tokens is not None
    return graph.post_tokens.aggregate(token)


def test_posts_with_the_same_rare_word_start_nearer_than_posts_with_the_same_common_word() -> None:
    graph = the_graph(with_words())
    posts = content_of(graph, content_embeddings(graph, DIM, seed=0)[0])
    alike, apart = cosine_similarity(posts[0], posts[2], dim=0), cosine_similarity(posts[0], posts[1], dim=0)
    assert alike > apart + 0.05


def test_a_word_that_every_post_has_says_nothing() -> None:
    token, _ = content_embeddings(the_graph(with_words()), DIM, seed=0)
    assert token[EVERYWHERE].abs().max() == 0.0
    assert token[LISBON].abs().max() > 0.0


def test_content_starts_as_loud_as_ids() -> None:
    graph = the_graph(with_words())
    loudness = content_of(graph, content_embeddings(graph, DIM, seed=0)[0]).pow(2).mean().sqrt()
    assert torch.isclose(loudness, torch.tensor(START_RMS), rtol=1e-3)


def test_tags_alone_are_content_too() -> None:
    tensors = some_tensors()
    token, tag = content_embeddings(the_graph(tensors), DIM, seed=0)
    assert len(token) == 0
    assert tag.shape == (tensors.num_tags, DIM)
    assert tag.abs().sum() > 0.0


def test_without_content_there_is_nothing_to_start() -> None:
    token, tag = content_embeddings(the_graph(some_tensors(num_tags=0)), DIM, seed=0)
    assert (len(token), len(tag)) == (0, 0)
