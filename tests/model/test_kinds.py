from dataclasses import replace

import numpy as np
import pytest

from tests.factories import some_tensors
from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions
from waypost.model.kinds import taught, weigh_pairs

VIEW, BOOK, REPORT = range(3)


def a_graph(rows: list[tuple[int, int, int]], weights: tuple[float, ...] = (1.0, 5.0, 0.0)) -> GraphTensors:
    """(user, post, kind) rows of the kinds view, book and report."""
    user, post, kind = np.array(sorted(rows)).T
    times = np.full(len(rows), NO_TIME)
    interactions = Interactions(user.astype(np.int32), post.astype(np.int32), kind.astype(np.uint8), times)
    return some_tensors(kinds=("view", "book", "report"), kind_weights=weights, interactions=interactions)


def test_with_a_weight_for_every_kind_everything_is_taught() -> None:
    tensors = a_graph([(1, 1, VIEW), (1, 2, REPORT)], weights=(1.0, 5.0, 0.5))
    assert taught(tensors) is tensors.interactions


def test_a_kind_of_weight_0_teaches_nothing() -> None:
    interactions = taught(a_graph([(1, 1, VIEW), (1, 1, REPORT), (1, 2, REPORT), (2, 2, BOOK)]))
    assert list(zip(interactions.user.tolist(), interactions.kind.tolist(), strict=True)) == [(1, VIEW), (2, BOOK)]


def test_a_pair_weighs_as_its_heaviest_interaction_however_often_it_was_repeated() -> None:
    tensors = a_graph([(1, 1, VIEW)] * 20 + [(1, 2, VIEW), (1, 2, BOOK), (1, 2, REPORT), (2, 0, BOOK)])
    keys, weights = weigh_pairs(tensors, taught(tensors))
    assert keys.tolist() == [31, 32, 60]
    assert (weights / weights[0]).tolist() == pytest.approx([1, 5, 5])
    assert weights.mean() == pytest.approx(1)


def test_equal_weights_are_exactly_1_whatever_they_are() -> None:
    tensors = a_graph([(u, p, VIEW) for u in range(7) for p in range(11)], weights=(0.3, 1.0, 0.0))
    for weights in ((0.3, 1.0, 0.0), (0.3, 0.3, 0.3)):
        assert set(weigh_pairs(tensors, replace(tensors, kind_weights=weights).interactions)[1].tolist()) == {1.0}


def test_nothing_taught_has_no_weights() -> None:
    tensors = a_graph([(1, 1, REPORT)])
    keys, weights = weigh_pairs(tensors, taught(tensors))
    assert len(keys) == len(weights) == 0
