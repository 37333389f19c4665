"""Heterogeneous GraphSAGE on users, posts and tags: linear SAGEConv layers whose outputs are summed (jumping knowledge).

Relations: user-post, author-post, post-tag and their reverses. A post's input is an id embedding (where it was interacted
with) plus what exists for every post: the means of its tags' and tokens' embeddings; a user's input is an id embedding.
There is no activation between layers, which costs nothing in ranking quality on interaction graphs and buys exact serving:
a user's last layer is a fixed vector plus a scaled sum of one message per post (see `serving.py`). The module knows graphs as
adjacencies and nothing of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from waypost.graph.tensors import NO_AUTHOR, Csr, GraphTensors, Interactions, csr_from_pairs
from waypost.model.adjacency import Adjacency, to_adjacency, transpose

ALPHA = 0.5  # user-post: symmetric normalisation, as in graph convolutions; the mean loses popularity (docs/experiments.md)
MEAN = 1.0  # the content relations take plain means
RELATIONS = ("posts_of_user", "users_of_post", "posts_of_author", "author_of_post", "posts_of_tag", "tags_of_post")


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

    def relation(self, name: str) -> Adjacency | None:
        return self.relations.get(name)


def to_graph(tensors: GraphTensors, interactions: Interactions, vocabulary: int) -> Graph:
    """The graph of these interactions (a training part, or all) with everything known of the posts."""
    posts_of_user = csr_from_pairs(interactions.user, interactions.post, tensors.num_users)
    relations = _relations(tensors, posts_of_user)
    user_degree = torch.from_numpy(posts_of_user.indptr).diff().float()[:, None]
    by_post = relations["posts_of_user"].transposed_indptr if "posts_of_user" in relations else None
    post_degree = by_post.diff().float()[:, None] if by_post is not None else torch.zeros(tensors.num_posts, 1)
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
        post_tokens=to_adjacency(_tokens(tensors.post_tokens), vocabulary, MEAN) if has_tokens else None,
    )


def _relations(tensors: GraphTensors, posts_of_user: Csr) -> dict[str, Adjacency]:
    relations = {}
    if len(posts_of_user.indices):
        relations["posts_of_user"] = to_adjacency(posts_of_user, tensors.num_posts, ALPHA)
        relations["users_of_post"] = transpose(relations["posts_of_user"], 1.0 - ALPHA)
    written = (tensors.post_author != NO_AUTHOR).nonzero()[0]
    if len(written):
        posts_of_author = csr_from_pairs(tensors.post_author[written], written, tensors.num_users)
        relations["posts_of_author"] = to_adjacency(posts_of_author, tensors.num_posts, MEAN)
        relations["author_of_post"] = transpose(relations["posts_of_author"], MEAN)
    if len(tensors.post_tags.indices):
        relations["tags_of_post"] = to_adjacency(tensors.post_tags, tensors.num_tags, MEAN)
        relations["posts_of_tag"] = transpose(relations["tags_of_post"], MEAN)
    return relations


def _tokens(post_tokens: Csr) -> Csr:
    """Token ids as rows of embeddings; repeats stay, a word said twice counts twice."""
    return post_tokens


class RelationConv(SAGEConv):  # type: ignore[misc]
    """SAGEConv of one relation over a CSR adjacency; the node's own part is left to the jumping knowledge."""

    def __init__(self, dim: int) -> None:
        super().__init__((dim, dim), dim, aggr="sum", root_weight=False, bias=False)
        nn.init.eye_(self.lin_l.weight)

    def forward(self, rows: Tensor, adjacency: Adjacency) -> Tensor:
        """[num_sources, dim] -> [num_targets, dim]"""
        return cast(Tensor, self.lin_l(adjacency.aggregate(rows)))


@dataclass(frozen=True)
class Embeddings:
    """What one pass over the graph yields; user vector = own + user_scale · state_sum."""

    message: Tensor  # [num_posts, dim] what a post tells a user, source scale included
    state_sum: Tensor  # [num_users, dim] Σ of the messages of the user's posts
    own: Tensor  # [num_users, dim]
    post: Tensor  # [num_posts, dim]


@dataclass(frozen=True)
class Warmth:
    """Which ids a training step may use; where False the node is treated as if it had come today."""

    posts: Tensor  # [num_posts, 1] bool
    users: Tensor  # [num_users, 1] bool


class GraphSAGE(nn.Module):
    def __init__(self, num_users: int, num_posts: int, num_tags: int, vocabulary: int, dim: int, layers: int) -> None:
        super().__init__()
        self.dim, self.layers = dim, layers
        self.user_id = nn.Parameter(torch.zeros(num_users, dim))
        self.post_id = nn.Parameter(torch.zeros(num_posts, dim))
        self.tag = nn.Parameter(torch.zeros(num_tags, dim))
        self.token = nn.Parameter(torch.zeros(vocabulary, dim))
        self.everyone = nn.Parameter(torch.zeros(dim))  # the part of every user vector; carries popularity
        self.convs = nn.ModuleList(
            nn.ModuleDict({name: RelationConv(dim) for name in RELATIONS}) for _ in range(layers)
        )

    @property
    def share(self) -> float:
        """Jumping knowledge: every layer's output and the input count alike."""
        return 1.0 / (self.layers + 1)

    def forward(self, graph: Graph, warmth: Warmth | None = None) -> Embeddings:
        warmth = warmth or Warmth(graph.post_degree > 0, graph.user_degree > 0)
        graph = _with_cold_scale(graph, warmth)
        user, post, tag = self.user_id * warmth.users, self.post_input(graph, warmth), self.tag
        own, post_sum, message = user, post, torch.zeros_like(post)
        for layer in range(self.layers):
            message = message + self._linear(layer, "posts_of_user")(post)
            authored = self._conv(layer, "posts_of_author", graph, post)
            own = _add(own, authored)
            last = layer == self.layers - 1
            new_user = None if last else _add(self._conv(layer, "posts_of_user", graph, post), authored)
            new_post = self._post_layer(layer, graph, warmth, user, tag)
            tag = None if last else self._conv(layer, "posts_of_tag", graph, post)
            user, post = new_user, new_post
            post_sum = _add(post_sum, post)
            post = torch.zeros_like(message) if post is None else post
        message = message * self.share * _source_scale(graph)
        adjacency = graph.relation("posts_of_user")
        state_sum = torch.zeros_like(self.user_id) if adjacency is None else adjacency.sum_neighbours(message)
        return Embeddings(message, state_sum, own * self.share + self.everyone, post_sum * self.share)

    def post_input(self, graph: Graph, warmth: Warmth) -> Tensor:
        rows = self.post_id * warmth.posts
        tags = graph.relation("tags_of_post")
        rows = rows if tags is None else rows + tags.aggregate(self.tag)
        return rows if graph.post_tokens is None else rows + graph.post_tokens.aggregate(self.token)

    def content_messages(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """(token [vocabulary, dim], tag [num_tags, dim]): messages of a post that has only this token, or only this tag.

        Exact for a post without author and users: its message is the mean over tokens plus the mean over tags.
        """
        warmth = Warmth(graph.post_degree > 0, graph.user_degree > 0)
        tags = self._tag_layers(graph, warmth)
        token = self._linear(0, "posts_of_user")(self.token)
        tag = self._linear(0, "posts_of_user")(self.tag)
        for layer in range(1, self.layers):
            below = self._linear(layer - 1, "tags_of_post")(tags[layer - 1])
            tag = tag + self._linear(layer, "posts_of_user")(below)
        scale = self.share * graph.typical_scale
        return token * scale, tag * scale

    def user_scale(self, count: Tensor) -> Tensor:
        return count.clamp_min(1.0) ** -ALPHA

    def _post_layer(self, layer: int, graph: Graph, warmth: Warmth, user: Tensor | None, tag: Tensor | None) -> Tensor | None:
        users = self._conv(layer, "users_of_post", graph, user)
        users = None if users is None else users * warmth.posts
        return _add(_add(users, self._conv(layer, "author_of_post", graph, user)), self._conv(layer, "tags_of_post", graph, tag))

    def _conv(self, layer: int, name: str, graph: Graph, rows: Tensor | None) -> Tensor | None:
        adjacency = graph.relation(name)
        if rows is None or adjacency is None:
            return None
        return cast(Tensor, self._modules_of(layer)[name](rows, adjacency))

    def _linear(self, layer: int, name: str) -> nn.Module:
        return cast(nn.Module, self._modules_of(layer)[name].lin_l)

    def _modules_of(self, layer: int) -> nn.ModuleDict:
        return cast(nn.ModuleDict, self.convs[layer])
