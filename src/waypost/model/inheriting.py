"""A trained model's weights for another graph: rows find their users, posts and tags again by key, tokens by string.

A row that nobody had before is zero, which is what a node is that came today: it is told from its features and its
neighbours alone. What is no table of rows (a relation's matrix, the part of everyone) is taken over as it is.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor

from waypost.errors import CorruptObject
from waypost.graph.indexing import ABSENT
from waypost.graph.tensors import Int32Array
from waypost.model.graphsage import GraphSAGE
from waypost.model.nodes import NodeKeys, rows_in
from waypost.model.tokens import TokenizedGraph

# Parameters whose rows are nodes, and the argument of the constructor that says how many.
_TABLES = {"user_id": "num_users", "post_id": "num_posts", "tag": "num_tags", "token": "vocabulary"}
Rows = dict[str, Int32Array]  # by parameter: [num_rows tonight] the row before, or ABSENT


def rows_before(nodes: NodeKeys, tokenizer: str, vocabulary: int, graph: TokenizedGraph, now: NodeKeys) -> Rows:
    """Where each row of tonight's tables was; `nodes`, `tokenizer` and `vocabulary` are those of the trained model."""
    return {
        "user_id": rows_in(nodes.users, now.users),
        "post_id": rows_in(nodes.posts, now.posts),
        "tag": rows_in(nodes.tags, now.tags),
        "token": _token_rows(tokenizer, graph.tokenizer, vocabulary),
    }


def inherit(model: GraphSAGE, rows: Rows) -> GraphSAGE:
    """A new model of tonight's rows with the weights of `model`, which stays as it is.

    Raises CorruptObject when the model has a table whose rows nobody can name.
    """
    counts = {argument: len(rows[table]) for table, argument in _TABLES.items()}
    heir = GraphSAGE(**{**model.shape(), **counts})
    weights = dict(model.state_dict())
    for name, value in heir.state_dict().items():
        if name in _TABLES:
            weights[name] = _taken(weights[name], rows[name])
        elif weights[name].shape != value.shape:
            raise CorruptObject(f"nobody knows whose the rows of {name} are", "train from scratch")
    heir.load_state_dict(weights)
    return heir


def _taken(table: Tensor, rows: Int32Array) -> Tensor:
    known = torch.from_numpy(rows != ABSENT)
    taken = torch.zeros(len(rows), *table.shape[1:], dtype=table.dtype)
    taken[known] = table.detach()[torch.from_numpy(rows[rows != ABSENT].astype(np.int64))]
    return taken


def _token_rows(before: str, now: str, vocabulary: int) -> Int32Array:
    """[vocabulary] the same rows under the same tokenizer; under another one, those of the same strings."""
    if before == now:
        return np.arange(vocabulary, dtype=np.int32)
    old, rows = _vocabulary(before), np.full(vocabulary, ABSENT, np.int32)
    for string, row in _vocabulary(now).items():
        rows[row] = old.get(string, ABSENT)
    return rows


def _vocabulary(tokenizer: str) -> dict[str, int]:
    """The strings of a tokenizer.json of ours."""
    words: dict[str, int] = json.loads(tokenizer)["model"]["vocab"]
    return words
