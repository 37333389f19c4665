"""One relation of the graph as an aggregation: every target row sums its neighbours' rows, scaled by degrees.

`embedding_bag` over CSR is the fastest sparse product that torch ships for CPUs (several times `torch.sparse_csr @ dense`),
so the forward pass is a bag over the target's neighbours and the backward pass a bag over the transposed relation. The rows
travel through the bag as bfloat16 (half the memory traffic), sums are kept in float32. It knows nodes only as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from waypost.graph.tensors import Csr, csr_from_pairs


@dataclass(frozen=True, eq=False)
class Adjacency:
    """target <- source. Aggregate: target_scale · Σ over neighbours of source_scale · row."""

    indptr: Tensor  # [num_targets + 1] int32
    indices: Tensor  # [num_edges] int32, source rows
    transposed_indptr: Tensor  # [num_sources + 1] int32
    transposed_indices: Tensor  # [num_edges] int32, target rows
    target_scale: Tensor  # [num_targets, 1] degree^-alpha
    source_scale: Tensor  # [num_sources, 1] degree^-(1-alpha)

    def to(self, device: str) -> Adjacency:
        return Adjacency(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def sum_neighbours(self, rows: Tensor) -> Tensor:
        """[num_sources, d] -> [num_targets, d], the plain sum without either scale."""
        summed: Tensor = _NeighbourSum.apply(rows, self)  # type: ignore[no-untyped-call]
        return summed

    def sum_back(self, rows: Tensor) -> Tensor:
        """[num_targets, d] -> [num_sources, d], the plain sum along the reversed edges; no gradient flows."""
        return _bag_sum(rows, self.transposed_indptr, self.transposed_indices)

    def aggregate(self, rows: Tensor) -> Tensor:
        """[num_sources, d] -> [num_targets, d]"""
        return self.target_scale * self.sum_neighbours(self.source_scale * rows)


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.adjacency = adjacency  # type: ignore[attr-defined]
        return _bag_sum(rows, adjacency.indptr, adjacency.indices)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        adjacency: Adjacency = ctx.adjacency  # type: ignore[attr-defined]
        return _bag_sum(gradients[0], adjacency.transposed_indptr, adjacency.transposed_indices), None


def _bag_sum(rows: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
    bags = functional.embedding_bag(indices, rows.bfloat16(), indptr, mode="sum", include_last_offset=True)
    return bags.float()


def degrees(csr: Csr) -> Tensor:
    """[num_rows, 1]; a row without neighbours counts as one, so that nothing divides by zero."""
    return torch.from_numpy(np.maximum(np.diff(csr.indptr), 1).astype(np.float32))[:, None]


def to_adjacency(csr: Csr, num_sources: int, alpha: float) -> Adjacency:
    """`csr` holds each target's source rows; alpha 1 is the mean over neighbours, 0.5 the symmetric normalisation."""
    targets = np.repeat(np.arange(csr.num_rows, dtype=np.int32), np.diff(csr.indptr))
    transposed = csr_from_pairs(csr.indices, targets, num_sources)
    return Adjacency(
        indptr=torch.from_numpy(csr.indptr.astype(np.int32)),
        indices=torch.from_numpy(csr.indices),
        transposed_indptr=torch.from_numpy(transposed.indptr.astype(np.int32)),
        transposed_indices=torch.from_numpy(transposed.indices),
        target_scale=degrees(csr) ** -alpha,
        source_scale=degrees(transposed) ** -(1.0 - alpha),
    )


def transpose(adjacency: Adjacency, alpha: float) -> Adjacency:
    """The reverse relation with its own normalisation."""
    target_degree = (adjacency.transposed_indptr.diff().clamp_min(1).float())[:, None]
    source_degree = (adjacency.indptr.diff().clamp_min(1).float())[:, None]
    return Adjacency(
        indptr=adjacency.transposed_indptr,
        indices=adjacency.transposed_indices,
        transposed_indptr=adjacency.indptr,
        transposed_indices=adjacency.indices,
        target_scale=target_degree**-alpha,
        source_scale=source_degree ** -(1.0 - alpha),
    )
