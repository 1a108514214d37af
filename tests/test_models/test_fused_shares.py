# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch

from srdensenet_mm.models.fused import shares as module
from srdensenet_mm.models.fused.shares import shares, shares_in_pieces


def _inputs(dtype, strides, pixels=23):
    generator = torch.Generator().manual_seed(1)

    def values(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    matrices = [values(stride**2 * 6, 6) for stride in strides]
    return (values(pixels, 6).to(dtype).detach().requires_grad_(), matrices,
            [values(len(matrix)) for matrix in matrices], values(9, 6))


@pytest.mark.parametrize('strides', [(), (3, ), (2, 2), (2, 2, 2)], ids=str)
def test_pieces_have_the_gradients_of_the_whole(strides, monkeypatch):
    # Three to seven pieces, the last one smaller.
    monkeypatch.setattr(module, '_PIECE_BYTES', 6 * 8 * 4 * max(1, 4**len(strides)))
    pixels, matrices, biases, taps = _inputs(torch.float64, strides)
    leaves = [pixels, *matrices, *biases, taps]
    found = []
    for compute in (shares, shares_in_pieces):
        out = compute(pixels, matrices, biases, taps)
        # Without a graph of their own: only these go through the pieces.
        alone = torch.autograd.grad(out.square().sum(), leaves, retain_graph=True)
        first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(value.square().sum() for value in first), leaves)
        found.append([out, *alone, *first, *second])
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)


def test_gradients_of_weights_are_added_up_in_32_bits(monkeypatch):
    """Many pieces of bf16 lose nothing: their sum is nearer to the exact gradient."""
    pixels, matrices, biases, taps = _inputs(torch.bfloat16, (2, ), pixels=4096)
    weights = [tensor.detach().float().requires_grad_() for tensor in (*matrices, *biases, taps)]

    def gradients(compute, pixels, matrix, bias, taps):
        compute(pixels, [matrix], [bias], taps).float().square().mean().backward()
        return matrix.grad

    exact = gradients(shares, pixels.detach().double(), *matrices, *biases, taps)
    whole = gradients(shares, pixels, *weights)
    for weight in weights:
        weight.grad = None
    monkeypatch.setattr(module, '_PIECE_BYTES', 6 * 2 * 4 * 64)
    pieces = gradients(shares_in_pieces, pixels, *weights)
    errors = [(found.double() - exact).norm() / exact.norm() for found in (whole, pieces)]
    assert errors[1] < max(errors[0], 0.01)
