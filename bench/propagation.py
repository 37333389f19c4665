"""One layer forward and backward over a bipartite graph: our CSR convolution against torch-geometric's default path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch_geometric.nn import SAGEConv

from waypost.graph.tensors import csr_from_pairs
from waypost.model.adjacency import to_adjacency
from waypost.model.graphsage import RelationConv

USERS, POSTS, EDGES, DIM = 40_000, 50_000, 1_000_000, 64
Measure = tuple[str, Callable[[], object], str, Callable[[], object]]


@contextmanager
def prepared() -> Iterator[list[Measure]]:
    choose = np.random.default_rng(0)
    user, post = choose.integers(0, USERS, EDGES), choose.integers(0, POSTS, EDGES)
    adjacency = to_adjacency(csr_from_pairs(user, post, USERS), POSTS, 1.0)
    edge_index = torch.from_numpy(np.stack([post, user]))  # [2, num_edges]
    rows = torch.randn(POSTS, DIM, requires_grad=True)
    targets = torch.zeros(USERS, DIM)
    ours, theirs = RelationConv(DIM), SAGEConv((DIM, DIM), DIM, root_weight=False, bias=False)

    def run_ours() -> None:
        ours(rows, adjacency).sum().backward()

    def run_theirs() -> None:
        theirs((rows, targets), edge_index).sum().backward()

    yield [("layer over CSR, forward and backward", run_ours, "SAGEConv over edge_index", run_theirs)]
