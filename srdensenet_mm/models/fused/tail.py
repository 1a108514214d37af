# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upsampling and the last convolution as matrix products.

A deconvolution whose kernel is as large as its stride maps every pixel to its
own small square, with no overlap. That is one matrix product with the pixels'
channel vectors. ReLU acts on each value alone, so a chain of such
deconvolutions never needs its pixels in image order. The last convolution has
few output channels. It is one more product, which gives each pixel's shares in
its 3x3 neighbourhood. Only these few shares are arranged as an image and added
up. The wide maps at output resolution (1 GiB at 1024x1024) never exist at once.
"""
import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autocast import in_float32, is_autocast
from .form import Form
from .shares import lean_shares, shares, shares_in_pieces


def tail(x: Tensor, upsampler: nn.Module, conv_last: nn.Conv2d, form: Form) -> Tensor:
    """Compute ``conv_last`` of the upsampler of ``x``.

    Args:
        x (Tensor): The bottleneck's maps, shape (N, C, H, W), float.
        upsampler (nn.Module): A DeconvUpsampler.
        conv_last (nn.Conv2d): The last convolution, 3x3 with padding 1.
        form (str): See :func:`.network.compute`.

    Returns:
        Tensor: Shape (N, out_channels, s * H, s * W), of the type of ``x``, or
        float32 under autocast.
    """
    if all(deconv.kernel_size == deconv.stride for deconv in upsampler.deconvs):
        return pixelwise_tail(x, upsampler.deconvs, conv_last, form)
    x = upsampler(x)
    # A convolution in 16 bits would round its sums.
    return pixelwise_tail(x, (), conv_last, form) if form == 'lean' else in_float32(conv_last, x)


def pixelwise_tail(x: Tensor, deconvs: Collection[nn.ConvTranspose2d], conv_last: nn.Conv2d,
                   form: Form) -> Tensor:
    """Compute ``conv_last`` of the deconvolutions (each with ReLU) of ``x``.

    Args:
        x (Tensor): The bottleneck's maps, shape (N, C, H, W), float.
        deconvs (Collection[nn.ConvTranspose2d]): Deconvolutions with kernel =
            stride, in a module list or a sequence. May be empty.
        conv_last (nn.Conv2d): The last convolution, 3x3 with padding 1.
        form (str): See :func:`.network.compute`.

    Returns:
        Tensor: See :func:`tail`.
    """
    n, channels, h, w = x.shape
    strides = [deconv.stride[0] for deconv in deconvs]
    # (kh, kw, C_out, C_in): row (i, j, c) makes channel c of subpixel (i, j).
    matrices = [deconv.weight.permute(2, 3, 1, 0).flatten(0, 2) for deconv in deconvs]
    biases = [deconv.bias.repeat(deconv.stride[0]**2) for deconv in deconvs]
    # Without gradients, the subpixels of the last deconvolution are one square: 16 shares of
    # 2x2 pixels, where single pixels have 36. The gradients of a square's taps would take longer.
    side = strides.pop() if form == 'lean' and strides else 1
    compute = {'lean': lean_shares, 'traced': shares}.get(
        form, shares_in_pieces if x.device.type == 'cpu' else shares)
    taps = _taps(conv_last.weight, side)
    out = compute(x.permute(0, 2, 3, 1).reshape(-1, channels), matrices, biases, taps)

    # (N, H, W, s1, s1, s2, s2, ..., shares) -> (N, rows, columns, i, j, C). The shares of a square
    # stay together: moving them one by one is many times slower.
    sub = [size for stride in strides for size in (stride, stride)]
    out = out.view(n, h, w, *sub, taps.size(0))
    depth = len(sub)
    order = [0, 1, *range(3, depth + 3, 2), 2, *range(4, depth + 3, 2), depth + 3]
    scale = math.prod(strides)
    out = out.permute(order).reshape(n, scale * h, scale * w, side + 2, side + 2, -1)
    out = (_add_up_squares if form == 'lean' else _add_up)(out, conv_last.bias)
    return out if is_autocast(x) else out.to(x.dtype)


def _taps(weight: Tensor, side: int) -> Tensor:
    """Make the matrix that gives a square's shares in the output.

    A square of pixels shares in itself and in the pixels around it.

    Args:
        weight (Tensor): Of the last convolution, shape (C_out, C_in, 3, 3).
        side (int): Of the square, in pixels.

    Returns:
        Tensor: Shape ((side + 2)**2 * C_out, side**2 * C_in). Row (i, j, c)
        makes the share in channel c of the pixel (i - 1, j - 1), counted from
        the square's first pixel.
    """
    # A pixel shares in the outputs around it by the kernel turned round.
    turned = weight.flip(2, 3)
    places = torch.stack([F.pad(turned, (j, side - 1 - j, i, side - 1 - i))
                          for i in range(side) for j in range(side)])
    return places.permute(3, 4, 1, 0, 2).flatten(3).flatten(0, 2)


def _add_up(shares: Tensor, bias: Tensor) -> Tensor:
    """Add every pixel's shares to its neighbours, (N, H, W, 3, 3, C) -> (N, C, H, W)."""
    h, w = shares.shape[1:3]
    shares = F.pad(shares.permute(0, 3, 4, 5, 1, 2), (1, 1, 1, 1))
    total = bias.view(1, -1, 1, 1)
    for i in range(3):
        for j in range(3):
            total = total + shares[:, 2 - i, 2 - j, :, i:i + h, j:j + w]
    return total


# Where shares go along an axis: from which squares, which of their shares; to which squares, which
# of their pixels. A square keeps all but the outermost shares. These go to its neighbours.
_MOVES = (
    (slice(None), slice(1, -1), slice(None), slice(None)),
    (slice(None, -1), slice(-1, None), slice(1, None), slice(None, 1)),
    (slice(1, None), slice(None, 1), slice(None, -1), slice(-1, None)),
)


def _add_up_squares(shares: Tensor, bias: Tensor) -> Tensor:
    """The same in place, for squares of pixels.

    Args:
        shares (Tensor): Shape (N, rows, columns, side + 2, side + 2, C).
        bias (Tensor): Shape (C, ).

    Returns:
        Tensor: Shape (N, C, rows * side, columns * side).
    """
    n, rows, columns, width, _, channels = shares.shape
    side = width - 2
    shares = shares.permute(0, 5, 1, 3, 2, 4)
    total = bias.view(1, -1, 1, 1, 1, 1).expand(n, channels, rows, side, columns, side).contiguous()
    for from_row, i, to_row, y in _MOVES:
        for from_column, j, to_column, x in _MOVES:
            total[:, :, to_row, y, to_column, x].add_(shares[:, :, from_row, i, from_column, j])
    return total.view(n, channels, rows * side, columns * side)
