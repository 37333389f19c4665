"""Heterogeneous GraphSAGE on users, posts and tags: linear SAGEConv layers whose outputs are summed (jumping
knowledge).

Relations: user-post and post-tag with their reverses, and from an author's posts to the author. Not the other way: most
authors wrote a single post, so an author's vector stood in for the id of a post that was to do without one, and content
learned nothing (docs/experiments.md). A post's input is an id embedding (where it was interacted with) plus what exists
for every post: the means of its tags' and tokens' embeddings; a user's input is an id embedding. There is no activation
between layers, which costs nothing in ranking quality on interaction graphs and buys exact serving: a user's last layer
is a fixed vector plus a scaled sum of one message per post (see `serving.py`). The module knows graphs as adjacencies
and nothing of training.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from waypost.graph.tensors import NO_AUTHOR, Csr, GraphTensors, Interactions, csr_from_pairs
from waypost.model.adjacency import Adjacency, to_adjacency

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch-geometric 2.8 still calls torch.jit.script on import
    from torch_geometric.nn import SAGEConv

ALPHA = 0.5  # user-post: symmetric normalisation, as in graph convolutions
MEAN = 1.0  # the content relations take plain means
INTERACTIONS = ("posts_of_user", "users_of_post")  # these pass vectors on as they are
CONTENT = ("posts_of_author", "posts_of_tag", "tags_of_post")  # these learn a matrix per layer


@dataclass(frozen=True, eq=False)
class Graph:
    """The graph that messages pass over; a relation without any edge is None and costs nothing."""

    num_users: int
    num_posts: int
    num_tags: int
    post_degree: Tensor  # [num_posts, 1] users who interacted
    user_degree: Tensor  # [num_users, 1] distinct posts interacted with
    typical_scale: float  # mean source scale of the posts that have users: what a post without users gets
    relations: dict[str, Adjacency]
    post_tokens: Adjacency | None

    def num_edges(self) -> int:
        """Of all relations, each counted in one direction, and of posts to their tokens."""
        words = 0 if self.post_tokens is None else self.post_tokens.num_edges
        return words + sum(relation.num_edges for relation in self.relations.values()) // 2

    def to(self, device: str) -> Graph:
        return replace(
            self,
            post_degree=self.post_degree.to(device),
            user_degree=self.user_degree.to(device),
            relations={name: relation.to(device) for name, relation in self.relations.items()},
            post_tokens=None if self.post_tokens is None else self.post_tokens.to(device),
        )


def to_graph(tensors: GraphTensors, interactions: Interactions, vocabulary: int) -> Graph:
    """The graph of these interactions (a training part, or all) with everything known of the posts."""
    posts_of_user = csr_from_pairs(interactions.user, interactions.post, tensors.num_users)
    relations = _relations(tensors, posts_of_user)
    user_degree = torch.from_numpy(posts_of_user.indptr).diff().float()[:, None]
    post_degree = torch.bincount(torch.from_numpy(posts_of_user.indices), minlength=tensors.num_posts).float()[:, None]
    with_users = post_degree[post_degree > 0]
    has_tokens = len(tensors.post_tokens.indices) > 0
    return Graph(
        num_users=tensors.num_users,
        num_posts=tensors.num_posts,
        num_tags=tensors.num_tags,
        post_degree=post_degree,
        user_degree=user_degree,
        typical_scale=float((with_users ** (ALPHA - 1.0)).mean()) if len(with_users) else 1.0,
        relations=relations,
        post_tokens=to_adjacency(tensors.post_tokens, vocabulary, MEAN) if has_tokens else None,
    )


def _relations(tensors: GraphTensors, posts_of_user: Csr) -> dict[str, Adjacency]:
    relations = {}
    if len(posts_of_user.indices):
        relations["posts_of_user"] = to_adjacency(posts_of_user, tensors.num_posts, ALPHA)
        relations["users_of_post"] = relations["posts_of_user"].transposed(ALPHA)
    written = (tensors.post_author != NO_AUTHOR).nonzero()[0]
    if len(written):
        posts_of_author = csr_from_pairs(tensors.post_author[written], written, tensors.num_users)
        relations["posts_of_author"] = to_adjacency(posts_of_author, tensors.num_posts, MEAN)
    if len(tensors.post_tags.indices):
        relations["tags_of_post"] = to_adjacency(tensors.post_tags, tensors.num_tags, MEAN)
        relations["posts_of_tag"] = relations["tags_of_post"].transposed(MEAN)
    return relations


class RelationConv(SAGEConv):  # type: ignore[misc]
    """SAGEConv of one relation over a CSR adjacency; the node's own part is left to the jumping knowledge.

    The matrix starts as the identity. Interactions do without one: learning it cost a third of the time and ranked
    worse (docs/experiments.md), as LightGCN found of its like.
    """

    def __init__(self, dim: int, *, learned: bool = True) -> None:
        super().__init__((dim, dim), dim, aggr="sum", root_weight=False, bias=False)
        if learned:
            nn.init.eye_(cast(Tensor, self.lin_l.weight))
        else:
            self.lin_l: nn.Module = nn.Identity()

    def forward(self, rows: Tensor, adjacency: Adjacency) -> Tensor:
        """[num_sources, dim] -> [num_targets, dim]"""
        return self.transform(self.propagate(adjacency, rows))

    def propagate(self, adjacency: Adjacency, rows: Tensor) -> Tensor:
        """In place of torch-geometric's, which would generate code into a temporary file for every process."""
        return adjacency.aggregate(rows)

    def transform(self, rows: Tensor) -> Tensor:
        """The learned matrix alone; aggregating before or after it is the same, since both are linear."""
        weight: Tensor | None = getattr(self.lin_l, "weight", None)
        return rows if weight is None else functional.linear(rows, weight.to(rows.dtype))


@dataclass(frozen=True)
class Warmth:
    """Whose ids and users a pass may use; where False the node is treated as if it had come today."""

    posts: Tensor  # [num_posts, 1] bool
    users: Tensor  # [num_users, 1] bool


@dataclass(frozen=True)
class Hidden:
    """The nodes after one layer; None where no relation leads there (or nobody reads it)."""

    user: Tensor | None  # [num_users, dim]
    authored: Tensor | None  # [num_users, dim] the part of `user` that his own posts give
    post: Tensor | None  # [num_posts, dim]
    tag: Tensor | None  # [num_tags, dim]


@dataclass(frozen=True)
class Embeddings:
    """What one pass over the graph yields; a user's vector is own + state_sum · max(1, degree)^-ALPHA."""

    message: Tensor  # [num_posts, dim] what a post tells a user
    state_sum: Tensor  # [num_users, dim] Σ of the messages of the user's posts
    own: Tensor  # [num_users, dim]
    post: Tensor  # [num_posts, dim]


class GraphSAGE(nn.Module):
    def __init__(self, num_users: int, num_posts: int, num_tags: int, vocabulary: int, dim: int, layers: int) -> None:
        super().__init__()
        self.dim, self.layers = dim, layers
        self.user_id = nn.Parameter(torch.zeros(num_users, dim))
        self.post_id = nn.Parameter(torch.zeros(num_posts, dim))
        self.tag = nn.Parameter(torch.zeros(num_tags, dim))
        self.token = nn.Parameter(torch.zeros(vocabulary, dim))
        self.everyone = nn.Parameter(torch.zeros(dim))  # the part of every user vector; carries popularity
        self.convs = nn.ModuleList(_relation_convs(dim) for _ in range(layers))

    def shape(self) -> dict[str, int]:
        """The constructor's arguments."""
        return {
            "num_users": len(self.user_id),
            "num_posts": len(self.post_id),
            "num_tags": len(self.tag),
            "vocabulary": len(self.token),
            "dim": self.dim,
            "layers": self.layers,
        }

    def forward(self, graph: Graph, warmth: Warmth | None = None, dtype: torch.dtype = torch.float32) -> Embeddings:
        """A training step passes its warmth and bfloat16; the tables are made from the plain call."""
        warmth = warmth or everything_warm(graph)
        hidden = self._hidden(graph, warmth, dtype)
        message = self._message(hidden) * _source_scale(graph, warmth).to(dtype)
        adjacency = graph.relations.get("posts_of_user")
        state_sum = (
            torch.zeros_like(self.user_id, dtype=dtype) if adjacency is None else adjacency.sum_neighbours(message)
        )
        own = _total([hidden[0].user, *(layer.authored for layer in hidden)])
        post = _total([layer.post for layer in hidden])
        return Embeddings(message, state_sum, own * self._share + self.everyone.to(dtype), post * self._share)

    def content_messages(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """(token [vocabulary, dim], tag [num_tags, dim]): the message of a post that has but this token, or this tag.

        A post without author and users has the mean of its tokens' plus the mean of its tags' messages, exactly.
        """
        hidden = self._hidden(graph, everything_warm(graph), torch.float32)
        token, tag = (
            self._conv(0, "posts_of_user").transform(self.token),
            self._conv(0, "posts_of_user").transform(self.tag),
        )
        for layer in range(1, self.layers):
            below = hidden[layer - 1].tag
            if below is not None:
                below = self._conv(layer - 1, "tags_of_post").transform(below)
                tag = tag + self._conv(layer, "posts_of_user").transform(below)
        scale = self._share * graph.typical_scale
        return token * scale, tag * scale

    @property
    def _share(self) -> float:
        """Jumping knowledge: the input and every layer's output count alike."""
        return 1.0 / (self.layers + 1)

    def _hidden(self, graph: Graph, warmth: Warmth, dtype: torch.dtype) -> list[Hidden]:
        """[layers + 1] the input and every layer, without the last layer's users and tags, which nobody reads."""
        user = self.user_id.to(dtype) * warmth.users
        hidden = [Hidden(user, None, self._post_input(graph, warmth, dtype), self.tag.to(dtype))]
        for layer in range(self.layers):
            hidden.append(self._next(layer, graph, warmth, hidden[-1], last=layer == self.layers - 1))
        return hidden

    def _post_input(self, graph: Graph, warmth: Warmth, dtype: torch.dtype) -> Tensor:
        tags = graph.relations.get("tags_of_post")
        from_tags = None if tags is None else tags.aggregate(self.tag.to(dtype))
        from_text = None if graph.post_tokens is None else graph.post_tokens.aggregate(self.token.to(dtype))
        return _total([self.post_id.to(dtype) * warmth.posts, from_tags, from_text])

    def _next(self, layer: int, graph: Graph, warmth: Warmth, below: Hidden, *, last: bool) -> Hidden:
        authored = self._pass(layer, "posts_of_author", graph, below.post)
        from_users = self._pass(layer, "users_of_post", graph, below.user)
        if from_users is not None:
            from_users = from_users * warmth.posts
        post = _sum([from_users, self._pass(layer, "tags_of_post", graph, below.tag)])
        if last:
            return Hidden(None, authored, post, None)
        user = _sum([self._pass(layer, "posts_of_user", graph, below.post), authored])
        return Hidden(user, authored, post, self._pass(layer, "posts_of_tag", graph, below.post))

    def _message(self, hidden: list[Hidden]) -> Tensor:
        """[num_posts, dim] every layer below speaks through the user's relation of the layer above."""
        told = [
            None if below.post is None else self._conv(layer, "posts_of_user").transform(below.post)
            for layer, below in enumerate(hidden[:-1])
        ]
        return _total(told) * self._share

    def _pass(self, layer: int, name: str, graph: Graph, rows: Tensor | None) -> Tensor | None:
        adjacency = graph.relations.get(name)
        if rows is None or adjacency is None:
            return None
        return cast(Tensor, self._conv(layer, name)(rows, adjacency))

    def _conv(self, layer: int, name: str) -> RelationConv:
        return cast(RelationConv, cast(nn.ModuleDict, self.convs[layer])[name])


def _relation_convs(dim: int) -> nn.ModuleDict:
    learned = {name: RelationConv(dim) for name in CONTENT}
    return nn.ModuleDict({**learned, **{name: RelationConv(dim, learned=False) for name in INTERACTIONS}})


def everything_warm(graph: Graph) -> Warmth:
    """Ids count for every node that had an interaction."""
    return Warmth(graph.post_degree > 0, graph.user_degree > 0)


def _source_scale(graph: Graph, warmth: Warmth) -> Tensor:
    """[num_posts, 1] how loud a post speaks: degree^(ALPHA - 1), and the typical loudness for a cold one."""
    return torch.where(warmth.posts, graph.post_degree.clamp_min(1.0) ** (ALPHA - 1.0), graph.typical_scale)


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return sum(present[1:], present[0]) if present else None


def _total(parts: Sequence[Tensor | None]) -> Tensor:
    total = _sum(parts)
    assert total is not None, "every node type has an input"
    return total
