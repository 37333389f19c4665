"""Sampled softmax: the post a user chose against posts that were drawn at random and shared by the whole batch.

loss = 1/b Σ over the b pairs of  weight · (log(1 + Σ_n exp(s_n - s_positive)) + l2/2 · (|user|² + |post|²)),
s = user · post + post offset, where the user is taken as he was before he met the post.

Weights have a mean of 1 over all pairs, so that a batch is as loud as without them and the learning rate keeps its
meaning; the sum is not divided by the batch's own weights, which would bias it towards its light pairs.

The gradient is written out. The softmax's is computed chunk by chunk while the logits are still in the cache (through
autograd it writes and reads [batch, negatives] matrices a dozen times and takes four times as long on a CPU), and the
rows' gradients are added up in float32 where they belong, so that no pass over all nodes is in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from waypost.model.graphsage import Embeddings

ROWS_PER_CHUNK = 1_024  # with 1,024 negatives the logits of a chunk are 4 MB
MAX_DIFFERENCE = 60.0  # exp(60) is far from float32's end, and past it the gradient no longer changes


@dataclass(frozen=True, eq=False)
class Batch:
    """Pairs of a step, and the posts they compete with."""

    user: Tensor  # [b]
    post: Tensor  # [b] that the user chose
    state_scale: Tensor  # [b, 1] of the sum of the messages of the user's other posts
    post_offset: Tensor  # [b]
    weight: Tensor  # [b] positive
    negative: Tensor  # [n]
    negative_offset: Tensor  # [n]


class Gradients(NamedTuple):
    loss: float
    users: Tensor  # [b, d]
    positives: Tensor  # [b, d]
    negatives: Tensor  # [n, d]


def batch_loss(embeddings: Embeddings, batch: Batch, l2: float) -> Tensor:
    """Scalar; differentiable by the embeddings."""
    loss: Tensor = _BatchLoss.apply(  # type: ignore[no-untyped-call]
        embeddings.own, embeddings.state_sum, embeddings.message, embeddings.post, batch, l2
    )
    return loss


class _BatchLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        own: Tensor,
        state_sum: Tensor,
        message: Tensor,
        post: Tensor,
        batch: Batch,
        l2: float,
    ) -> Tensor:
        state = state_sum[batch.user].float() - message[batch.post].float()
        users = own[batch.user].float() + state * batch.state_scale
        positives, negatives = post[batch.post].float(), post[batch.negative].float()
        loss, user, positive, negative = softmax_gradients(
            users, positives, negatives, batch.post_offset, batch.negative_offset, batch.weight
        )
        shrink = batch.weight[:, None] * (l2 / len(users))
        length = users.pow(2).sum(1, keepdim=True) + positives.pow(2).sum(1, keepdim=True)
        ctx.save_for_backward(user.addcmul_(shrink, users), positive.addcmul_(shrink, positives), negative)
        ctx.batch, ctx.shapes = batch, (len(own), len(post))  # type: ignore[attr-defined]
        return own.new_tensor(loss + float((shrink * length).sum()) / 2, dtype=torch.float32)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:
        user, positive, negative = (found * gradients[0] for found in ctx.saved_tensors)  # type: ignore[attr-defined]
        batch: Batch = ctx.batch  # type: ignore[attr-defined]
        num_users, num_posts = ctx.shapes  # type: ignore[attr-defined]
        by_state = user * batch.state_scale
        own = _added_up(num_users, (batch.user, user))
        state_sum = _added_up(num_users, (batch.user, by_state))
        message = _added_up(num_posts, (batch.post, by_state.neg_()))
        post = _added_up(num_posts, (batch.post, positive), (batch.negative, negative))
        return own, state_sum, message, post, None, None


def _added_up(num_rows: int, *parts: tuple[Tensor, Tensor]) -> Tensor:
    """[num_rows, d] the sums of the rows given for each index; they add up in float32, popular posts have many."""
    total = parts[0][1].new_zeros(num_rows, parts[0][1].shape[1])
    for index, rows in parts:
        total.index_add_(0, index, rows)
    return total


def softmax_gradients(
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    positive_offset: Tensor,
    negative_offset: Tensor,
    weights: Tensor,
) -> Gradients:
    """Of the softmax part alone: users [b, d], positives [b, d], negatives [n, d], offsets [b] and [n], weights [b]."""
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
    return Gradients(total / batch, user_gradient, positive_gradient, negative_gradient)
