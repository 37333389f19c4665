import torch
from torch import Tensor

from waypost.model.graphsage import Embeddings
from waypost.model.loss import MAX_DIFFERENCE, ROWS_PER_CHUNK, Batch, batch_loss, softmax_gradients

ROWS, NEGATIVES, DIM = ROWS_PER_CHUNK + 10, 40, 8
USERS, POSTS = 30, 50


def some_inputs() -> list[Tensor]:
    """Users, positives, negatives, and the offsets of the last two."""
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(n, DIM, generator=generator).requires_grad_() for n in (ROWS, ROWS, NEGATIVES)]
    return vectors + [torch.randn(n, generator=generator) for n in (ROWS, NEGATIVES)]


def some_weights() -> Tensor:
    return torch.rand(ROWS, generator=torch.Generator().manual_seed(1)) + 0.1


def plain_softmax(
    users: Tensor, positives: Tensor, negatives: Tensor, positive_offset: Tensor, negative_offset: Tensor
) -> Tensor:
    """[ROWS] by its definition, through autograd."""
    positive = (users * positives).sum(1) + positive_offset
    logits = torch.cat((positive[:, None], users @ negatives.T + negative_offset), dim=1)
    return torch.nn.functional.cross_entropy(logits, torch.zeros(ROWS, dtype=torch.long), reduction="none")


def test_value_and_gradients_are_those_of_the_plain_definition() -> None:
    inputs, weights = some_inputs(), some_weights()
    loss, *gradients = softmax_gradients(*(tensor.detach() for tensor in inputs), weights)  # type: ignore[call-arg]
    expected = (weights * plain_softmax(*inputs)).mean()
    torch.testing.assert_close(torch.tensor(loss), expected)
    for own, other in zip(gradients, torch.autograd.grad(expected, inputs[:3]), strict=True):
        torch.testing.assert_close(own, other)


def test_the_loss_of_a_batch_and_its_gradients_are_those_of_the_plain_definition() -> None:
    generator = torch.Generator().manual_seed(2)
    own, state_sum = (torch.randn(USERS, DIM, generator=generator).requires_grad_() for _ in range(2))
    message, post = (torch.randn(POSTS, DIM, generator=generator).requires_grad_() for _ in range(2))
    batch = Batch(
        user=torch.randint(USERS, (ROWS,), generator=generator),
        post=torch.randint(POSTS, (ROWS,), generator=generator),
        state_scale=torch.rand(ROWS, 1, generator=generator),
        post_offset=torch.randn(ROWS, generator=generator),
        weight=some_weights(),
        negative=torch.randint(POSTS, (NEGATIVES,), generator=generator),
        negative_offset=torch.randn(NEGATIVES, generator=generator),
    )
    loss = batch_loss(Embeddings(message, state_sum, own, post), batch, l2=0.3)

    users = own[batch.user] + (state_sum[batch.user] - message[batch.post]) * batch.state_scale
    positives = post[batch.post]
    softmax = plain_softmax(users, positives, post[batch.negative], batch.post_offset, batch.negative_offset)
    lengths = users.pow(2).sum(1) + positives.pow(2).sum(1)
    expected = (batch.weight * (softmax + 0.3 / 2 * lengths)).mean()

    torch.testing.assert_close(loss, expected)
    inputs = (own, state_sum, message, post)
    theirs = torch.autograd.grad(3 * expected, inputs)
    for found, other in zip(torch.autograd.grad(3 * loss, inputs), theirs, strict=True):
        torch.testing.assert_close(found, other)


def test_a_pair_of_weight_2_counts_as_two_pairs() -> None:
    users, positives, negatives, positive_offset, negative_offset = (tensor.detach() for tensor in some_inputs())
    twice = torch.tensor([0, 1, 1])
    counted = softmax_gradients(
        users[twice], positives[twice], negatives, positive_offset[twice], negative_offset, torch.ones(3)
    )
    weights = torch.tensor([1.0, 2.0]) / 1.5
    weighed = softmax_gradients(users[:2], positives[:2], negatives, positive_offset[:2], negative_offset, weights)
    torch.testing.assert_close(torch.tensor(weighed.loss), torch.tensor(counted.loss))


def test_weights_of_1_change_no_bit() -> None:
    inputs = [tensor.detach() for tensor in some_inputs()]
    loss, *own = softmax_gradients(*inputs, torch.ones(ROWS))  # type: ignore[call-arg]
    expected, *gradients = _without_weights(*inputs)
    assert loss == expected
    for found, other in zip(own, gradients, strict=True):
        assert torch.equal(found, other)


def _without_weights(
    users: Tensor, positives: Tensor, negatives: Tensor, positive_offset: Tensor, negative_offset: Tensor
) -> tuple[float, Tensor, Tensor, Tensor]:
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
    return total / ROWS, user_gradient, positive_gradient, negative_gradient
