"""One relation of the graph as an aggregation: every target row is a weighted sum of its neighbours' rows.

`embedding_bag` over CSR is the fastest sparse product that torch ships for CPUs (several times `torch.sparse_csr @
dense`), so the forward pass is a bag over the target's neighbours and the backward pass a bag over the transposed
relation. The degree normalisation sits in the edges' weights, which is cheaper than scaling the rows. It works in the
rows' own type: training passes bfloat16 and halves the memory traffic, the final tables are computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from waypost.graph.tensors import Csr, transposed


@dataclass(frozen=True, eq=False)
class _Bags:
    """Rows of neighbours, and the weight of each edge."""

    indptr: Tensor  # [num_rows + 1] int32
    indices: Tensor  # [num_edges] int32
    weights: Tensor  # [num_edges] float32

    def to(self, device: str) -> _Bags:
        return _Bags(self.indptr.to(device), self.indices.to(device), self.weights.to(device))

    def sum(self, rows: Tensor, *, weighted: bool) -> Tensor:
        weights = self.weights.to(rows.dtype) if weighted else None
        return functional.embedding_bag(
            self.indices, rows, self.indptr, mode="sum", per_sample_weights=weights, include_last_offset=True
        )

    def degrees(self) -> Tensor:
        return self.indptr.diff()


@dataclass(frozen=True, eq=False)
class Adjacency:
    """target <- source, and the way back."""

    forward: _Bags  # a bag of sources per target
    backward: _Bags  # a bag of targets per source

    @property
    def num_edges(self) -> int:
        return len(self.forward.indices)

    def to(self, device: str) -> Adjacency:
        return Adjacency(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def aggregate(self, rows: Tensor) -> Tensor:
        """[num_sources, d] -> [num_targets, d], normalised by the degrees."""
        return _apply(rows, self, weighted=True)

    def sum_neighbours(self, rows: Tensor) -> Tensor:
        """[num_sources, d] -> [num_targets, d], the plain sum."""
        return _apply(rows, self, weighted=False)

    def transposed(self, alpha: float) -> Adjacency:
        """The reverse relation, with its own normalisation."""
        indptr, indices = self.backward.indptr, self.backward.indices
        forward, backward = _weigh(indptr, indices, self.forward.indptr, self.forward.indices, alpha)
        return Adjacency(forward, backward)


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor, adjacency: Adjacency, weighted: bool) -> Tensor:
        ctx.adjacency, ctx.weighted = adjacency, weighted  # type: ignore[attr-defined]
        return adjacency.forward.sum(rows, weighted=weighted)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        bags: _Bags = ctx.adjacency.backward  # type: ignore[attr-defined]
        return bags.sum(gradients[0].contiguous(), weighted=ctx.weighted), None, None  # type: ignore[attr-defined]


def _apply(rows: Tensor, adjacency: Adjacency, *, weighted: bool) -> Tensor:
    summed: Tensor = _NeighbourSum.apply(rows, adjacency, weighted)  # type: ignore[no-untyped-call]
    return summed


def to_adjacency(csr: Csr, num_sources: int, alpha: float) -> Adjacency:
    """`csr` holds each target's source rows; alpha 1 is the mean over neighbours, 0.5 the symmetric normalisation.

    An edge weighs target_degree^-alpha · source_degree^-(1 - alpha). A source named twice counts twice.
    """
    back = transposed(csr, num_sources)
    forward, backward = _weigh(
        torch.from_numpy(csr.indptr.astype(np.int32)),
        torch.from_numpy(csr.indices),
        torch.from_numpy(back.indptr.astype(np.int32)),
        torch.from_numpy(back.indices),
        alpha,
    )
    return Adjacency(forward, backward)


def _weigh(
    indptr: Tensor, indices: Tensor, back_indptr: Tensor, back_indices: Tensor, alpha: float
) -> tuple[_Bags, _Bags]:
    target = indptr.diff().clamp_min(1).float() ** -alpha
    source = back_indptr.diff().clamp_min(1).float() ** (alpha - 1.0)
    weights = torch.repeat_interleave(target, indptr.diff()) * source[indices]
    back_weights = torch.repeat_interleave(source, back_indptr.diff()) * target[back_indices]
    return _Bags(indptr, indices, weights), _Bags(back_indptr, back_indices, back_weights)
