"""What a post is about against what its reader has read: tags, or where the graph has none, the words of its text.

A post is its tags (or tokens) weighed by TF-IDF and of length 1, a user the sum of his posts; the score is their
product. It needs no other users, so it ranks a post that nobody has read as well as any.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from waypost.graph.tensors import Csr, GraphTensors, Int32Array, Interactions
from waypost.model.evaluation import Float32Array, ScoreUsers
from waypost.trainer.baselines.interactions import user_post_matrix


def fit_content(tensors: GraphTensors, train: Interactions, seed: int) -> ScoreUsers:
    """For a graph with tags, or with the trainer's tokens of a text."""
    users = user_post_matrix(tensors, train)
    described = tensors.post_tags if len(tensors.post_tags.indices) else tensors.post_tokens
    posts = tf_idf(described)
    profiles, by_term = users @ posts, posts.T.tocsr()

    def score_users(rows: Int32Array) -> Float32Array:
        scores: Float32Array = (profiles[rows] @ by_term).toarray()
        return scores

    return score_users


def tf_idf(terms: Csr) -> sparse.csr_matrix:
    """[num_posts, num_terms] float32, rows of length 1 or empty; (1 + log count) · log(num_posts / posts with it)."""
    num_terms = int(terms.indices.max(initial=-1)) + 1
    counted = sparse.csr_matrix(
        (np.ones(len(terms.indices), np.float32), terms.indices, terms.indptr), (terms.num_rows, num_terms)
    )
    counted.sum_duplicates()
    posts_with = np.bincount(counted.indices, minlength=num_terms)
    rarity = np.log((1.0 + terms.num_rows) / (1.0 + posts_with)).astype(np.float32)
    counted.data = (1.0 + np.log(counted.data)) * rarity[counted.indices]
    lengths = np.sqrt(np.asarray(counted.multiply(counted).sum(axis=1)).ravel())
    counted.data /= np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(counted.indptr)).astype(np.float32)
    return counted
