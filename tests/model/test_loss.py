import torch

from waypost.model.loss import ROWS_PER_CHUNK, sampled_softmax


def test_value_and_gradients_are_those_of_the_plain_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, negatives, dim = ROWS_PER_CHUNK + 10, 40, 8
    ours = [torch.randn(n, dim, generator=generator) for n in (rows, rows, negatives)]
    offsets = [torch.randn(n, generator=generator) for n in (rows, negatives)]
    plain = [tensor.clone().requires_grad_() for tensor in ours]
    ours = [tensor.requires_grad_() for tensor in ours]
    loss = sampled_softmax(*ours, *offsets)
    positive = (plain[0] * plain[1]).sum(1) + offsets[0]
    logits = torch.cat((positive[:, None], plain[0] @ plain[2].T + offsets[1]), dim=1)
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(rows, dtype=torch.long))
    torch.testing.assert_close(loss, expected)
    torch.autograd.backward([3 * loss, 3 * expected])
    for own, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(own.grad, other.grad)
