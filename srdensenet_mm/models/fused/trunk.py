# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""From the image to the bottleneck's maps without wide concatenations.

Convolution is linear in its input channels. With feature level ``'all'``, the
first convolution of a block is therefore a sum of contributions, one from each
source. So is the bottleneck. Sources are the network's first convolution and
the earlier blocks. Each source is convolved once, when it appears, with the
slices of all later kernels that read it. The sums are the same. Every map is
read once instead of up to nine times, and no wide input is copied.
"""
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autocast import in_float32, is_autocast
from ..checkpointing import checkpointed
from .block import dense_block, grow
from .form import Form


def trunk(network: nn.Module, x: Tensor, form: Form) -> Tensor:
    """Compute the bottleneck's maps, before any activation.

    Args:
        network (nn.Module): An SRDenseNet with the paper's own parts.
        x (Tensor): Shape (N, in_channels, H, W), float.
        form (str): See :func:`.network.compute`.

    Returns:
        Tensor: Shape (N, bottleneck_channels, H, W), in ``channels_last``.
    """
    low_level = _low_level_maps(network, x, form)
    if network.feature_level == 'all':
        return _by_contributions(network, low_level, form)
    x = low_level
    for block in network.blocks:
        x = checkpointed(network.with_cp, functools.partial(
            dense_block, list(block.layers), form=form), x)
    if network.feature_level == 'hl':
        x = torch.cat([low_level, x], dim=1)
    return network.bottleneck(x)


def _low_level_maps(network: nn.Module, x: Tensor, form: Form) -> Tensor:
    # oneDNN and cuDNN run the network faster in channels_last, the layout of its input.
    # (contiguous() does not change the layout of an image with one channel.)
    # An exported graph's engine chooses by itself. In training, the first kernel's gradient
    # would have another layout than the kernel, and DDP would warn of that.
    if form == 'lean':
        x = x.to(memory_format=torch.channels_last)
    maps = F.relu(in_float32(network.conv_first, x))
    dtype = maps.dtype
    if dtype is torch.float32 and is_autocast(x):  # as every later convolution would convert it
        dtype = torch.get_autocast_dtype(x.device.type)
    return maps.to(dtype, memory_format=torch.channels_last)


def _by_contributions(network: nn.Module, low_level: Tensor, form: Form) -> Tensor:
    blocks = [list(block.layers) for block in network.blocks]
    readers = [layers[0] for layers in blocks]
    growth = [reader.out_channels for reader in readers]
    # The sources' widths, not from tensors: tracing takes their sizes for ones that may change.
    widths = [network.conv_first.out_channels,
              *(len(layers) * width for layers, width in zip(blocks, growth, strict=True))]
    # A tensor's parts are taken by a single split, whose gradient is one concatenation. Gradients
    # of slices are filled up with zeros and added.
    kernels = [reader.weight.split(widths[:i + 1], dim=1) for i, reader in enumerate(readers)]
    shares = network.bottleneck.weight.flatten(1).split(widths, dim=1)
    source, pending, total = low_level, None, None
    for i, block in enumerate(blocks):
        total = _add_to_bottleneck(network.bottleneck.bias, total, source, shares[i], form)
        part = F.conv2d(
            source, torch.cat([kernel[i] for kernel in kernels[i:]]),
            torch.cat([reader.bias for reader in readers]) if i == 0 else None, padding=1)
        if i:
            part.add_(pending)
        first, pending = part.split([growth[i], sum(growth[i + 1:])], dim=1)
        source = checkpointed(network.with_cp, functools.partial(grow, block, form=form), first)
    return _add_to_bottleneck(network.bottleneck.bias, total, source, shares[-1], form)


def _add_to_bottleneck(bias: Tensor, total: Tensor | None, source: Tensor, weight: Tensor,
                       form: Form) -> Tensor:
    """Add a source's contribution to the bottleneck's maps; ``total`` is None at first."""
    if form != 'lean' or total is None:
        part = F.conv2d(source, weight[..., None, None], bias if total is None else None)
        return part if total is None else part.add_(total)
    # A matrix product that adds to its output in place saves a pass over the maps.
    n, width, h, w = source.shape
    pixels = source.permute(0, 2, 3, 1).reshape(-1, width)
    added = total.permute(0, 2, 3, 1).reshape(-1, len(weight)).addmm_(
        pixels, weight.t().to(pixels.dtype))
    return added.view(n, h, w, -1).permute(0, 3, 1, 2)
