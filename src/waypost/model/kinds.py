"""What a kind of interaction says about taste: the weights of the mapping, as the model uses them.

A kind of weight 0 (a report, a "hide this") teaches nothing: its interactions are no edges of the model's graph, no
part of a user's state, no training examples and no right answers of the holdout. They still count as seen, so the post
is not recommended to that user. Every other kind is an edge like any other; its weight says how hard training pulls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waypost.graph.sorting import distinct
from waypost.graph.tensors import GraphTensors, Int64Array, Interactions, pair_key

Float32Array = NDArray[np.float32]


def teaches(tensors: GraphTensors) -> NDArray[np.bool_]:
    """[num_interactions] whether the kind has a weight."""
    mask: NDArray[np.bool_] = (np.array(tensors.kind_weights) > 0)[tensors.interactions.kind]
    return mask


def taught(tensors: GraphTensors) -> Interactions:
    """The interactions that the model learns from: all but those of kinds of weight 0."""
    if min(tensors.kind_weights, default=1.0) > 0:
        return tensors.interactions
    return tensors.interactions.take(teaches(tensors))


def weigh_pairs(tensors: GraphTensors, interactions: Interactions) -> tuple[Int64Array, Float32Array]:
    """Of interactions that are taught: (pair keys [num_pairs] distinct, ascending; weights [num_pairs] of mean 1).

    A pair weighs as its heaviest interaction does. The largest and not the sum: pairs are what is learned and what is
    judged, each once however often it was repeated, so ten views of a post must not outweigh the one booking that they
    led to; and the sum would make every weight a matter of how often the app happens to log.
    """
    pairs = pair_key(interactions.user, interactions.post, tensors.num_posts)
    keys = distinct(pairs)
    if len(set(tensors.kind_weights)) <= 1 or not len(keys):
        return keys, np.ones(len(keys), np.float32)
    weights = np.zeros(len(keys))
    np.maximum.at(weights, np.searchsorted(keys, pairs), np.array(tensors.kind_weights)[interactions.kind])
    return keys, (weights / weights.mean()).astype(np.float32)
