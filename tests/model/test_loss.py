import torch
from torch import Tensor

from waypost.model.loss import MAX_DIFFERENCE, ROWS_PER_CHUNK, sampled_softmax

ROWS, NEGATIVES, DIM = ROWS_PER_CHUNK + 10, 40, 8


def some_inputs() -> list[Tensor]:
    """Users, positives, negatives, and the offsets of the last two."""
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(n, DIM, generator=generator).requires_grad_() for n in (ROWS, ROWS, NEGATIVES)]
    return vectors + [torch.randn(n, generator=generator) for n in (ROWS, NEGATIVES)]


def some_weights() -> Tensor:
    return torch.rand(ROWS, generator=torch.Generator().manual_seed(1)) + 0.1


def gradients_of(loss: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(3 * loss, inputs[:3])


def test_value_and_gradients_are_those_of_the_plain_definition() -> None:
    inputs, weights = some_inputs(), some_weights()
    users, positives, negatives, positive_offset, negative_offset = inputs
    loss = sampled_softmax(users, positives, negatives, positive_offset, negative_offset, weights)
    positive = (users * positives).sum(1) + positive_offset
    logits = torch.cat((positive[:, None], users @ negatives.T + negative_offset), dim=1)
    losses = torch.nn.functional.cross_entropy(logits, torch.zeros(ROWS, dtype=torch.long), reduction="none")
    expected = (weights * losses).mean()
    torch.testing.assert_close(loss, expected)
    for own, other in zip(gradients_of(loss, inputs), gradients_of(expected, inputs), strict=True):
        torch.testing.assert_close(own, other)


def test_a_pair_of_weight_2_counts_as_two_pairs() -> None:
    users, positives, negatives, positive_offset, negative_offset = some_inputs()
    twice = torch.tensor([0, 1, 1])
    counted = sampled_softmax(
        users[twice], positives[twice], negatives, positive_offset[twice], negative_offset, torch.ones(3)
    )
    weights = torch.tensor([1.0, 2.0]) / 1.5
    weighed = sampled_softmax(users[:2], positives[:2], negatives, positive_offset[:2], negative_offset, weights)
    torch.testing.assert_close(weighed, counted)


def test_weights_of_1_change_no_bit() -> None:
    inputs = some_inputs()
    loss = sampled_softmax(*inputs, torch.ones(ROWS))  # type: ignore[call-arg]
    expected, *gradients = _without_weights(*(tensor.detach() for tensor in inputs))
    assert torch.equal(loss, expected)
    for own, other in zip(torch.autograd.grad(loss, inputs[:3]), gradients, strict=True):
        assert torch.equal(own, other)


def _without_weights(
    users: Tensor, positives: Tensor, negatives: Tensor, positive_offset: Tensor, negative_offset: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss as it was before pairs had weights, with its gradients, operation by operation."""
    user_gradient, positive_gradient = torch.empty_like(users), torch.empty_like(positives)
    negative_gradient, total = torch.zeros_like(negatives), 0.0
    for start in range(0, ROWS, ROWS_PER_CHUNK):
        rows = slice(start, start + ROWS_PER_CHUNK)
        own = (users[rows] * positives[rows]).sum(1, keepdim=True) + positive_offset[rows, None]
        odds = torch.addmm(negative_offset, users[rows], negatives.T).sub_(own).clamp_(max=MAX_DIFFERENCE).exp_()
        normaliser = 1.0 + odds.sum(1, keepdim=True)
        total += float(normaliser.log().sum())
        odds.div_(normaliser * ROWS)
        pull = (1.0 - 1.0 / normaliser) / ROWS
        user_gradient[rows] = odds @ negatives - pull * positives[rows]
        positive_gradient[rows] = -pull * users[rows]
        negative_gradient.addmm_(odds.T, users[rows])
    return users.new_tensor(total / ROWS), user_gradient, positive_gradient, negative_gradient
