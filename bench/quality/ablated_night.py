"""`waypost night` of a model that lacks something: `python -m bench.quality.ablated_night ids|graph night …`.

- *ids*: no user and no post has an embedding of its own; content and neighbours are all there is.
- *graph*: nobody aggregates neighbours; users are their ids, posts their ids, tags and text (a factorisation with
  features).
What is missing is taken out of the model's own code from outside, so that the product has no switch for it.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from waypost import cli
from waypost.model import graphsage
from waypost.model.graphsage import Graph, GraphSAGE
from waypost.trainer import fit

START_DEVIATION = 0.1  # of what then has no better start: from zeros alone no gradient leads away
FEATURES = {"tags_of_post"}


def without_ids() -> None:
    initialise = GraphSAGE.__init__

    def initialise_without_ids(self: GraphSAGE, *arguments: Any, **named: Any) -> None:
        initialise(self, *arguments, **named)
        for ids in (self.user_id, self.post_id):
            ids.requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for content in (self.tag, self.token):
                content.normal_(0.0, START_DEVIATION, generator=generator)

    def no_start(graph: Graph, dim: int, seed: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(graph.num_users, dim), torch.zeros(graph.num_posts, dim)

    GraphSAGE.__init__ = initialise_without_ids  # type: ignore[method-assign]
    _replace(fit, "spectral_embeddings", no_start)


def without_graph() -> None:
    relations_of = graphsage._relations

    def features_alone(*arguments: Any) -> dict[str, Any]:
        return {name: relation for name, relation in relations_of(*arguments).items() if name in FEATURES}

    def silence(model: GraphSAGE, hidden: list[Any], *rest: Any) -> Tensor:
        return torch.zeros_like(hidden[0].post)

    def random_start(graph: Graph, dim: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return (
            torch.randn(graph.num_users, dim, generator=generator) * START_DEVIATION,
            torch.randn(graph.num_posts, dim, generator=generator) * START_DEVIATION,
        )

    _replace(graphsage, "_relations", features_alone)
    _replace(GraphSAGE, "_message", silence)
    _replace(fit, "spectral_embeddings", random_start)


def _replace(owner: Any, name: str, new: Any) -> None:
    """Raises AttributeError where the model's code no longer has it: an ablation that does nothing would lie."""
    getattr(owner, name)
    setattr(owner, name, new)


ABLATIONS = {"ids": without_ids, "graph": without_graph}

if __name__ == "__main__":
    ABLATIONS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
