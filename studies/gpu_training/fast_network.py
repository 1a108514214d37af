# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet's forward pass in several orders, for a compiler and a GPU to choose among."""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Variant:
    """How a step is computed. All give the same sums, to rounding.

    Attributes:
        batch: Patches in a step.
        form: ``'plain'``, as the paper draws it; ``'fused'``, each map
            convolved once for all that read it, wide convolutions, and the tail as
            matrix products.
        shifts_below: 3x3 convolutions of fewer input maps become a matrix
            product and nine shifted sums.
        compile: A mode of ``torch.compile``, or ``''``.
        layout: Whether the compiler must lay all maps out channels last.
        recompute: Whether the tail's maps are made again in the backward pass.
        graph: Whether a CUDA graph holds the step.
    """
    batch: int = 64
    form: str = 'fused'
    shifts_below: int = 0
    compile: str = ''
    layout: bool = False
    recompute: bool = False
    graph: bool = True


def upscale(network: nn.Module, x: Tensor, variant: Variant, dtype: torch.dtype) -> Tensor:
    """Compute an SRDenseNet with stock parts and feature level 'all', in ``dtype``.

    The first convolution and the last sum are float32.
    """

    def conv(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        if maps.size(1) < variant.shifts_below:
            return _conv_by_shifts(maps, weight, bias)
        return F.conv2d(maps, weight, bias, padding=1)

    first = network.conv_first
    low = F.relu(F.conv2d(x, first.weight, first.bias, padding=1))
    low = low.to(dtype, memory_format=torch.channels_last)
    trunk = _plain_trunk if variant.form == 'plain' else _fused_trunk
    tail = _plain_tail if variant.form == 'plain' or any(
        deconv.kernel_size != deconv.stride for deconv in network.upsampler.deconvs
    ) else _pixelwise_tail
    maps = trunk(network, low, conv)
    if network.bottleneck_act:
        maps = F.relu(maps)
    if variant.recompute:
        return checkpoint(tail, network, maps, use_reentrant=False)
    return tail(network, maps)


def _conv_by_shifts(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    taps = weight.permute(2, 3, 0, 1).flatten(0, 2)
    shares = F.linear(maps.permute(0, 2, 3, 1), taps)
    return _add_up(shares, weight.size(0), bias).permute(0, 3, 1, 2)


def _add_up(shares: Tensor, width: int, bias: Tensor | None) -> Tensor:
    """Add each pixel's nine shares onto its neighbours, (N, H, W, 9 * C) -> (N, H, W, C)."""
    height, breadth = shares.shape[1:3]
    shares = F.pad(shares, (0, 0, 1, 1, 1, 1))
    total = 0 if bias is None else bias
    for i in range(3):
        for j in range(3):
            start = (3 * i + j) * width
            total = total + shares[:, i:i + height, j:j + breadth, start:start + width]
    return total


def _plain_trunk(network, low: Tensor, conv) -> Tensor:
    sources = [low]
    for block in network.blocks:
        x, grown = torch.cat(sources, 1), []
        for layer in block.layers:
            grown.append(F.relu(conv(x, layer.weight, layer.bias)))
            x = torch.cat(grown, 1)
        sources.append(x)
    return _pointwise(network.bottleneck, torch.cat(sources, 1))


def _pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


# The gradient of a split is one concatenation; slices would each add zeros as large as the whole.
def _fused_trunk(network, low: Tensor, conv) -> Tensor:
    blocks = list(network.blocks)
    readers = [block.layers[0] for block in blocks]
    widths = [low.size(1), *(block.out_channels for block in blocks)]
    # columns[i][j]: what block i, or the bottleneck, reads source j with
    columns = [reader.weight.split(widths[:i + 1], 1) for i, reader in enumerate(readers)]
    bottleneck = network.bottleneck.weight.to(low.dtype).split(widths, 1)
    source, pending = low, None
    total = network.bottleneck.bias.to(low.dtype).view(1, -1, 1, 1)
    for i in range(len(blocks) + 1):
        total = total + F.conv2d(source, bottleneck[i])
        if i == len(blocks):
            return total
        part = conv(source, torch.cat([own[i] for own in columns[i:]]),
                    torch.cat([reader.bias for reader in readers]) if i == 0 else None)
        pending = part if pending is None else part + pending
        growth = readers[i].out_channels
        sums, pending = pending.split([growth, pending.size(1) - growth], 1)
        layers = list(blocks[i].layers)
        kernels = [layer.weight.split(growth, 1) for layer in layers[1:]]
        source = torch.cat(_grow(kernels, layers, 0, len(layers), sums, conv), 1)


def _grow(kernels: list, layers: list[nn.Conv2d], start: int, stop: int, sums: Tensor,
          conv) -> list[Tensor]:
    """A dense block by halves: the earlier half's maps are convolved at once for the later."""
    if stop - start == 1:
        return [F.relu(sums)]
    middle, width = (start + stop) // 2, layers[0].out_channels
    if start:
        own, sums = sums.split([width * (middle - start), width * (stop - middle)], 1)
    else:
        own, sums = sums, None
    grown = _grow(kernels, layers, start, middle, own, conv)
    earlier = torch.cat(grown, 1) if len(grown) > 1 else grown[0]
    later = conv(
        earlier,
        torch.cat([torch.cat(kernels[k - 1][start:middle], 1) for k in range(middle, stop)]),
        None if start else torch.cat([layer.bias for layer in layers[middle:stop]]))
    if start:
        later = later + sums
    return [earlier, *_grow(kernels, layers, middle, stop, later, conv)]


def _plain_tail(network, x: Tensor) -> Tensor:
    for deconv in network.upsampler.deconvs:
        x = F.relu(F.conv_transpose2d(
            x, deconv.weight.to(x.dtype), deconv.bias.to(x.dtype), deconv.stride, deconv.padding,
            deconv.output_padding))
    last = network.conv_last
    return _add_up(F.linear(x.permute(0, 2, 3, 1), _taps(last, x.dtype)).float(),
                   last.out_channels, last.bias).permute(0, 3, 1, 2)


def _taps(last: nn.Conv2d, dtype: torch.dtype) -> Tensor:
    return last.weight.permute(2, 3, 0, 1).flatten(0, 2).to(dtype)


def _pixelwise_tail(network, x: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    pixels, sides = x.permute(0, 2, 3, 1).reshape(-1, channels), []
    for deconv in network.upsampler.deconvs:
        side = deconv.stride[0]
        sides.append(side)
        matrix = deconv.weight.permute(2, 3, 1, 0).flatten(0, 2).to(x.dtype)
        bias = deconv.bias.repeat(side**2).to(x.dtype)
        pixels = F.relu(F.linear(pixels, matrix, bias)).view(-1, channels)
    last = network.conv_last
    shares = F.linear(pixels, _taps(last, x.dtype)).float()
    # (N, H, W, s1, s1, s2, s2, 9 * C) -> (N, s * H, s * W, 9 * C)
    depth, scale = 2 * len(sides), math.prod(sides)
    shares = shares.view(n, height, width, *(side for side in sides for _ in 'yx'), -1)
    shares = shares.permute(0, 1, *range(3, depth + 3, 2), 2, *range(4, depth + 3, 2), depth + 3)
    shares = shares.reshape(n, scale * height, scale * width, -1)
    return _add_up(shares, last.out_channels, last.bias).permute(0, 3, 1, 2)
