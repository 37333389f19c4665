"""Two layers forward and backward over a bipartite graph: our CSR convolutions against torch-geometric's default path.

Both in float32 and with a learned matrix in each layer; torch-geometric's default is an `edge_index` of pairs.
"""

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
MEAN = 1.0  # as SAGEConv's default aggregation
PEER = "torch-geometric's SAGEConv"
TWO_LAYERS = "two layers, forward and backward"


def measure(interactions: int, rounds: int) -> Section:
    """Of a size of its own, whatever the world's."""
    choose = np.random.default_rng(0)
    user, post = choose.integers(0, USERS, EDGES), choose.integers(0, POSTS, EDGES)
    to_users = to_adjacency(csr_from_pairs(user, post, USERS), POSTS, MEAN)
    to_posts = to_users.transposed(MEAN)
    edge_index = torch.from_numpy(np.stack([post, user]))  # [2, num_edges]
    rows = torch.randn(POSTS, DIM, requires_grad=True)
    users, posts = torch.zeros(USERS, DIM), torch.zeros(POSTS, DIM)
    ours = RelationConv(DIM), RelationConv(DIM)
    theirs = [SAGEConv((DIM, DIM), DIM, root_weight=False, bias=False) for _ in range(2)]

    def run_ours() -> None:
        ours[1](ours[0](rows, to_users), to_posts).sum().backward()

    def run_theirs() -> None:
        hidden = theirs[0]((rows, users), edge_index)
        theirs[1]((hidden, posts), edge_index.flip(0)).sum().backward()

    answers = interleaved(rounds, {"ours": timed(run_ours), PEER: timed(run_theirs)})
    seconds = {name: median(found) for name, found in answers.items()}
    return Section(
        "propagation",
        f"GraphSAGE over {EDGES:,} edges",
        (Measure(TWO_LAYERS, "s", seconds.pop("ours"), seconds),),
        rounds=rounds,
    )
