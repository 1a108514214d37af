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
from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autocast import in_float32, is_autocast
from .linear_relu import linear_relu

# In the lean form, pixels of the bottleneck go through in pieces whose widest
# maps take about this many bytes: small enough for memory, large enough for
# the matrix product.
_PIECE_BYTES = 8 * 2**20


def tail(x: Tensor, upsampler: nn.Module, conv_last: nn.Conv2d, lean: bool) -> Tensor:
    """Compute ``conv_last`` of the upsampler of ``x``.

    Args:
        x (Tensor): The bottleneck's maps, shape (N, C, H, W), float.
        upsampler (nn.Module): A DeconvUpsampler.
        conv_last (nn.Conv2d): The last convolution, 3x3 with padding 1.
        lean (bool): See :func:`.network.compute`.

    Returns:
        Tensor: Shape (N, out_channels, s * H, s * W), of the type of ``x``, or
        float32 under autocast.
    """
    if all(deconv.kernel_size == deconv.stride for deconv in upsampler.deconvs):
        return pixelwise_tail(x, upsampler.deconvs, conv_last, lean)
    x = upsampler(x)
    # A convolution in 16 bits would round its sums.
    return pixelwise_tail(x, (), conv_last, lean) if lean else in_float32(conv_last, x)


def pixelwise_tail(x: Tensor, deconvs: Collection[nn.ConvTranspose2d], conv_last: nn.Conv2d,
                   lean: bool) -> Tensor:
    """Compute ``conv_last`` of the deconvolutions (each with ReLU) of ``x``.

    Args:
        x (Tensor): The bottleneck's maps, shape (N, C, H, W), float.
        deconvs (Collection[nn.ConvTranspose2d]): Deconvolutions with kernel =
            stride, in a module list or a sequence. May be empty.
        conv_last (nn.Conv2d): The last convolution, 3x3 with padding 1.
        lean (bool): See :func:`.network.compute`.

    Returns:
        Tensor: See :func:`tail`.
    """
    n, channels, h, w = x.shape
    strides = [deconv.stride[0] for deconv in deconvs]
    # (kh, kw, C_out, C_in): row (i, j, c) makes channel c of subpixel (i, j).
    matrices = [deconv.weight.permute(2, 3, 1, 0).flatten(0, 2).to(x.dtype)
                for deconv in deconvs]
    biases = [deconv.bias.repeat(deconv.stride[0]**2).to(x.dtype) for deconv in deconvs]
    # (kh, kw, C_out, C_in): row (i, j, c) makes the share in the neighbour's channel c.
    taps = conv_last.weight.permute(2, 3, 0, 1).flatten(0, 2).contiguous()

    def shares(pixels: Tensor) -> Tensor:
        for matrix, bias in zip(matrices, biases, strict=True):
            pixels = F.relu_(F.linear(pixels, matrix, bias)).view(-1, channels)
        return F.linear(pixels, taps.to(x.dtype))

    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    out = _shares_in_pieces(pixels, matrices, biases, taps) if lean else shares(pixels)

    # (N, H, W, s1, s1, s2, s2, ..., 9 * C_out) -> (N, s*H, s*W, 9, C_out). The shares of a pixel
    # stay together: moving them one by one is many times slower.
    sub = [size for stride in strides for size in (stride, stride)]
    out = out.view(n, h, w, *sub, taps.size(0))
    depth = 2 * len(strides)
    order = [0, 1, *range(3, depth + 3, 2), 2, *range(4, depth + 3, 2), depth + 3]
    scale = math.prod(strides)
    out = out.permute(order).reshape(n, scale * h, scale * w, 9, -1).permute(0, 3, 4, 1, 2)
    out = _add_up(out, conv_last.bias, lean)
    return out if is_autocast(x) else out.to(x.dtype)


def _shares_in_pieces(pixels: Tensor, matrices: list[Tensor], biases: list[Tensor],
                      taps: Tensor) -> Tensor:
    """The shares of all pixels, without gradients and with little memory.

    Each piece is written to its final place at once. Small results kept between
    wide maps would leave holes in the heap, together as large as all the wide
    maps.

    The shares are float32 or wider. They nearly cancel one another, and 16 bits
    would leave errors of half a level.
    """
    channels = pixels.size(1)
    growth = 1
    for matrix in matrices:
        growth *= matrix.size(0) // channels
    rows = max(1, _PIECE_BYTES // (growth * channels * pixels.element_size()))
    rows = min(rows, len(pixels))
    layers, height = [], rows
    for matrix, bias in zip(matrices, biases, strict=True):
        layers.append(linear_relu(matrix, bias, height))
        height *= matrix.size(0) // channels
    taps = taps.to(torch.promote_types(pixels.dtype, torch.float32)).t()
    multiply = _product_with(taps, pixels)
    out = taps.new_empty(growth * len(pixels), taps.size(1))
    for start in range(0, len(pixels), rows):
        piece = pixels[start:start + rows]
        for layer in layers:
            piece = layer(piece).view(-1, channels)
        multiply(piece, out[growth * start:growth * start + len(piece)])
    return out


def _product_with(taps: Tensor, like: Tensor) -> Callable[[Tensor, Tensor], None]:
    """Make a function that multiplies pixels by ``taps``, more exactly than the pixels' type.

    CPUs multiply bf16 several times as fast as float32. They add up in 32 bits,
    but round the sums to 16. A second product with the rounded sums subtracted
    gives the rounding error, itself in 16 bits. ``taps`` is split in the same
    way, into its bf16 value and the rest, once for all pieces.

    Args:
        taps (Tensor): Shape (channels, K), float32 or wider.
        like (Tensor): Has the type and device of the pixels.

    Returns:
        Callable: Takes pixels, shape (P, channels), and the tensor to write to,
        shape (P, K), of the type of ``taps``.
    """
    if like.dtype is not torch.bfloat16 or like.device.type != 'cpu':
        return lambda pixels, out: torch.mm(pixels.to(taps.dtype), taps, out=out)
    width = taps.size(1)
    rounded = taps.to(like.dtype)
    halves = torch.cat([rounded, (taps - rounded).to(like.dtype)], dim=1)

    def multiply(pixels: Tensor, out: Tensor) -> None:
        products = torch.mm(pixels, halves)
        lost = torch.addmm(products[:, :width], pixels, rounded, beta=-1)
        out.copy_(products[:, :width]).add_(lost.add_(products[:, width:]))

    return multiply


def _add_up(shares: Tensor, bias: Tensor, lean: bool) -> Tensor:
    """Add every pixel's nine shares to its neighbours, (N, 9, C, H, W) -> (N, C, H, W)."""
    h, w = shares.shape[-2:]
    if not lean:
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
