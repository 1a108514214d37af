# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The tail's matrix products, in three ways."""
import itertools
import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear import Layer, exact_linear, linear_relu

# Pixels of the bottleneck go through in pieces whose widest maps take about this many bytes: small
# enough for the cache, large enough for the matrix product.
_PIECE_BYTES = 4 * 2**20


def shares(pixels: Tensor, matrices: Sequence[Tensor], biases: Sequence[Tensor],
           taps: Tensor) -> Tensor:
    """The shares of each output pixel in its neighbours.

    Args:
        pixels (Tensor): The bottleneck's maps, shape (P, C), float.
        matrices (Sequence[Tensor]): Of the deconvolutions, shapes (s * s * C, C).
        biases (Sequence[Tensor]): Of the deconvolutions, shapes (s * s * C, ).
        taps (Tensor): Of the last convolution, shape (9 * C_out, C).

    Returns:
        Tensor: Shape (S * P, 9 * C_out), of the type of ``pixels``. S is the
        product of all s * s.
    """
    for matrix, bias in zip(matrices, biases, strict=True):
        pixels = F.relu_(F.linear(pixels, matrix.to(pixels.dtype), bias.to(pixels.dtype)))
        pixels = pixels.view(-1, taps.size(1))
    return F.linear(pixels, taps.to(pixels.dtype))


def lean_shares(pixels: Tensor, matrices: Sequence[Tensor], biases: Sequence[Tensor],
                taps: Tensor) -> Tensor:
    """The same without gradients, in pieces, and with little memory.

    Here ``taps`` may give the shares of q output pixels that lie together:
    shape (K, q * C), for a result of shape (S * P / q, K).

    Each piece is written to its final place at once. Small results kept between
    wide maps would leave holes in the heap, together as large as all the wide
    maps.

    The shares are float32 or wider. They nearly cancel one another, and 16 bits
    would leave errors of half a level.
    """
    channels = pixels.size(1)
    rows, growth, layers = _layers(pixels, matrices, biases)
    squares = growth[-1] * channels // taps.size(1)  # of a pixel
    taps = taps.to(torch.promote_types(pixels.dtype, torch.float32))
    multiply = exact_linear(taps, pixels.dtype, squares * rows)
    out = taps.new_empty(squares * len(pixels), len(taps))
    for start in range(0, len(pixels), rows):
        piece = pixels[start:start + rows]
        for layer in layers:
            piece = layer(piece.view(-1, channels))
        multiply(piece.view(-1, taps.size(1)), out[squares * start:squares * (start + rows)])
    return out


def shares_in_pieces(pixels: Tensor, matrices: Sequence[Tensor], biases: Sequence[Tensor],
                     taps: Tensor) -> Tensor:
    """The same with gradients, in pieces that stay in a CPU's cache.

    The backward pass makes the gradient of the widest maps (64 MiB in bf16 for
    8 patches of 32x32), masks it and multiplies it twice. As a whole, it would
    go through memory each time. The maps themselves are kept. Gradients of
    weights are added up in 32 bits.
    """
    return _Shares.apply(pixels, taps, *matrices, *biases)


class _Shares(torch.autograd.Function):

    @staticmethod
    def forward(ctx, pixels: Tensor, taps: Tensor, *parameters: Tensor) -> Tensor:
        channels = pixels.size(1)
        ctx.rows, ctx.growth, layers = _layers(pixels, *_halves(parameters))
        weight, maps, out = taps.to(pixels.dtype).t(), [], []
        for piece in pixels.split(ctx.rows):
            for layer in layers:
                piece = layer(piece).view(-1, channels)
                maps.append(piece)
            out.append(piece @ weight)
        ctx.save_for_backward(pixels, taps, *parameters, *maps)
        ctx.number = len(parameters)
        return torch.cat(out)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        pixels, taps, *rest = ctx.saved_tensors
        parameters, maps = rest[:ctx.number], rest[ctx.number:]
        matrices, biases = _halves(parameters)
        inputs = (pixels, taps, *parameters)
        if torch.is_grad_enabled():  # a second derivative is wanted
            wanted = [tensor for tensor in inputs if tensor.requires_grad]
            found = iter(torch.autograd.grad(
                shares(pixels, matrices, biases, taps), wanted, grad, create_graph=True))
            return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)
        dtype, levels = pixels.dtype, len(matrices)
        of_taps, *of_parameters = (
            torch.zeros_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32))
            for tensor in inputs[1:])
        of_matrices, of_biases = _halves(of_parameters)
        weights = [matrix.to(dtype) for matrix in matrices]
        weight = taps.to(dtype)
        of_pixels = []
        # Split, a transposed gradient would be slow to multiply.
        flows = grad.contiguous().split(ctx.rows * ctx.growth[-1])
        pieces = zip(pixels.split(ctx.rows), flows, strict=True)
        for number, (piece, flow) in enumerate(pieces):
            read = [piece, *maps[levels * number:levels * (number + 1)]]
            of_taps += flow.t() @ read[-1]
            flow = flow @ weight
            for level in reversed(range(levels)):
                torch.ops.aten.threshold_backward.grad_input(
                    flow, read[level + 1], 0, grad_input=flow)
                flow = flow.view(-1, len(matrices[level]))
                of_matrices[level] += flow.t() @ read[level]
                of_biases[level] += flow.sum(0)
                flow = flow @ weights[level]
            of_pixels.append(flow)
        return torch.cat(of_pixels), of_taps, *of_matrices, *of_biases


def _halves(parameters: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    middle = len(parameters) // 2
    return parameters[:middle], parameters[middle:]


def _layers(pixels: Tensor, matrices: Sequence[Tensor],
            biases: Sequence[Tensor]) -> tuple[int, list[int], list[Layer]]:
    """What both ways in pieces begin with.

    Returns:
        Tuple[int, list[int], list[Layer]]: Pixels in a piece, output pixels of
        a pixel after each layer (1 at first), and the deconvolutions.
    """
    channels, dtype = pixels.size(1), pixels.dtype
    growth = list(itertools.accumulate(
        (len(matrix) // channels for matrix in matrices), operator.mul, initial=1))
    widest = growth[-1] * channels * pixels.element_size()
    rows = max(1, min(_PIECE_BYTES // widest, len(pixels)))
    return rows, growth, [
        linear_relu(matrix.to(dtype), bias.to(dtype), size * rows)
        for matrix, bias, size in zip(matrices, biases, growth, strict=False)]
