# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The dense block, computed by halves.

Convolution is linear in its input channels. So the outputs of the earlier half
of a block's layers are convolved once with the slices that read them of all
kernels of the later half. Each half is then computed alone in the same way.
Wide convolutions are faster than narrow ones, and fewer maps are concatenated.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .form import Form


def dense_block(layers: Sequence[nn.Conv2d], x: Tensor, form: Form) -> Tensor:
    """Compute a dense block.

    Args:
        layers (Sequence[nn.Conv2d]): Its layers.
        x (Tensor): Shape (N, in_channels, H, W), float.
        form (str): See :func:`.network.compute`.

    Returns:
        Tensor: The layers' outputs, oldest first, shape (N, len(layers) *
        growth_rate, H, W).
    """
    return grow(layers, layers[0](x), form)


def grow(layers: Sequence[nn.Conv2d], first: Tensor, form: Form) -> Tensor:
    """Compute a dense block from the first layer's convolution on.

    Args:
        layers (Sequence[nn.Conv2d]): Its layers.
        first (Tensor): The first convolution's output, before its ReLU. Shape
            (N, growth_rate, H, W), float.
        form (str): See :func:`.network.compute`.

    Returns:
        Tensor: As :func:`dense_block` returns it.
    """
    if form == 'lean' and first.dtype is torch.bfloat16 and first.device.type == 'cpu':
        # Narrow convolutions are as fast as wide ones here, but a slice of 16 maps is narrower than
        # a CPU's vector of bf16. To add one takes twice as long as the convolution.
        maps = F.relu(first)
        for layer in layers[1:]:
            maps = torch.cat([maps, F.relu_(layer(maps))], dim=1)
        return maps
    return _side_by_side(_grow(layers, 0, len(layers), first))


def _grow(layers: Sequence[nn.Conv2d], start: int, stop: int, sums: Tensor) -> list[Tensor]:
    """The outputs of layers ``start`` to ``stop - 1``, oldest first, in pieces.

    Args:
        layers (Sequence[nn.Conv2d]): All layers of the block.
        start (int): The first of the layers to compute.
        stop (int): The layer after the last.
        sums (Tensor): Shape (N, (stop - start) * growth_rate, H, W). The
            contributions of layers before ``start`` to the convolutions of
            these layers, with the bias. With ``start=0``, the output of the
            first convolution alone.
    """
    if stop - start == 1:
        return [F.relu(sums)]
    middle = (start + stop) // 2
    width = layers[0].out_channels
    readers = layers[middle:stop]
    weight = torch.cat([reader.weight[:, width * start:width * middle] for reader in readers])
    if start:
        own, others = sums.split([width * (middle - start), width * (stop - middle)], dim=1)
        earlier = _side_by_side(_grow(layers, start, middle, own))
        later = F.conv2d(earlier, weight, padding=1).add_(others)
    else:
        earlier = _side_by_side(_grow(layers, start, middle, sums))
        later = F.conv2d(
            earlier, weight, torch.cat([reader.bias for reader in readers]), padding=1)
    return [earlier, *_grow(layers, middle, stop, later)]


def _side_by_side(pieces: list[Tensor]) -> Tensor:
    # torch.cat would copy even a single piece.
    return torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]
