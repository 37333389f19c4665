"""Sampled softmax: the post a user chose against posts that were drawn at random and shared by the whole batch.

loss = 1/b Σ over the b rows of  weight · log(1 + Σ_n exp(s_n - s_positive)),  s = user · post + post offset.

Weights have a mean of 1 over all pairs, so that a batch is as loud as without them and the learning rate keeps its
meaning; the sum is not divided by the batch's own weights, which would bias it towards its light pairs.

The gradient is written out and computed chunk by chunk while the logits are still in the cache: through autograd the
same loss writes and reads [batch, negatives] matrices a dozen times and takes four times as long on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS_PER_CHUNK = 1_024  # with 1,024 negatives the logits of a chunk are 4 MB
MAX_DIFFERENCE = 60.0  # exp(60) is far from float32's end, and past it the gradient no longer changes


class SampledSoftmax(torch.autograd.Function):
    """Scalar of users [b, d], positives [b, d], negatives [n, d], positive_offset [b], negative_offset [n], weights [b]

    Weights are positive.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        users: Tensor,
        positives: Tensor,
        negatives: Tensor,
        positive_offset: Tensor,
        negative_offset: Tensor,
        weights: Tensor,
    ) -> Tensor:
        batch = len(users)
        user_gradient, positive_gradient = torch.empty_like(users), torch.empty_like(positives)
        negative_gradient, total = torch.zeros_like(negatives), 0.0
        for start in range(0, batch, ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            user, positive, weight = users[rows], positives[rows], weights[rows, None]
            own = (user * positive).sum(1, keepdim=True) + positive_offset[rows, None]
            odds = torch.addmm(negative_offset, user, negatives.T).sub_(own).clamp_(max=MAX_DIFFERENCE).exp_()
            normaliser = 1.0 + odds.sum(1, keepdim=True)
            total += float((weight * normaliser.log()).sum())
            odds.div_(normaliser * batch / weight)
            pull = weight * (1.0 - 1.0 / normaliser) / batch
            user_gradient[rows] = odds @ negatives - pull * positive
            positive_gradient[rows] = -pull * user
            negative_gradient.addmm_(odds.T, user)
        ctx.save_for_backward(user_gradient, positive_gradient, negative_gradient)
        return users.new_tensor(total / batch)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        user, positive, negative = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0] * user, gradients[0] * positive, gradients[0] * negative, None, None, None


def sampled_softmax(
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    positive_offset: Tensor,
    negative_offset: Tensor,
    weights: Tensor,
) -> Tensor:
    loss: Tensor = SampledSoftmax.apply(users, positives, negatives, positive_offset, negative_offset, weights)  # type: ignore[no-untyped-call]
    return loss
