"""One layer forward and backward over a bipartite graph: our CSR convolution against torch-geometric's default path."""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.nn import SAGEConv

from bench.measures import Measure, Section
from bench.processes import interleaved, median, timed
from waypost.graph.tensors import csr_from_pairs
from waypost.model.adjacency import to_adjacency
from waypost.model.graphsage import RelationConv

USERS, POSTS, EDGES, DIM = 40_000, 50_000, 1_000_000, 64
PEER = "torch-geometric's SAGEConv"


def measure(interactions: int, rounds: int) -> Section:
    """Of a size of its own, whatever the world's."""
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

    answers = interleaved(rounds, {"ours": timed(run_ours), PEER: timed(run_theirs)})
    seconds = {name: median(found) for name, found in answers.items()}
    return Section(
        "propagation",
        f"a layer over {EDGES:,} edges",
        (Measure("forward and backward", "s", seconds.pop("ours"), seconds),),
        rounds=rounds,
    )
