# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upsampling and the last convolution as matrix products.

A deconvolution whose kernel is as large as its stride maps every pixel to its
own small square, with no overlap. That is one matrix product with the pixels'
channel vectors. ReLU acts on each value alone, so a chain of such
deconvolutions never needs its pixels in image order. The last convolution has
few output channels. It is one more product, which gives each pixel's share of
its 3x3 neighbourhood. Only these few shares are arranged as an image and added
up. The wide maps at output resolution (1 GiB at 1024x1024) never exist at once.
"""
import math
from collections.abc import Collection

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
    # (kh, kw, C_out, C_in): row (i, j, c) makes the share in the neighbour's channel c.
    taps = conv_last.weight.permute(2, 3, 0, 1).flatten(0, 2).contiguous()
    compute = {'lean': lean_shares, 'traced': shares}.get(
        form, shares_in_pieces if x.device.type == 'cpu' else shares)
    out = compute(x.permute(0, 2, 3, 1).reshape(-1, channels), matrices, biases, taps)

    # (N, H, W, s1, s1, s2, s2, ..., 9 * C_out) -> (N, s*H, s*W, 9, C_out). The shares of a pixel
    # stay together: moving them one by one is many times slower.
    sub = [size for stride in strides for size in (stride, stride)]
    out = out.view(n, h, w, *sub, taps.size(0))
    depth = 2 * len(strides)
    order = [0, 1, *range(3, depth + 3, 2), 2, *range(4, depth + 3, 2), depth + 3]
    scale = math.prod(strides)
    out = out.permute(order).reshape(n, scale * h, scale * w, 9, -1).permute(0, 3, 4, 1, 2)
    out = _add_up(out, conv_last.bias, form)
    return out if is_autocast(x) else out.to(x.dtype)


def _add_up(shares: Tensor, bias: Tensor, form: Form) -> Tensor:
    """Add every pixel's nine shares to its neighbours, (N, 9, C, H, W) -> (N, C, H, W)."""
    h, w = shares.shape[-2:]
    if form != 'lean':
        shares = F.pad(shares, (1, 1, 1, 1))
        total = bias.view(1, -1, 1, 1)
        for i in range(3):
            for j in range(3):
                total = total + shares[:, 3 * i + j, :, i:i + h, j:j + w]
        return total
    # In place, and without a padded copy.
    total = shares[:, 4] + bias.view(1, -1, 1, 1)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            if i or j:
                total[..., max(0, -i):h - max(0, i), max(0, -j):w - max(0, j)].add_(
                    shares[:, 3 * i + j + 4, :, max(0, i):h + min(0, i), max(0, j):w + min(0, j)])
    return total
