# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import functools

import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpointing import checkpointed
from .form import Form
from .tail import tail
from .trunk import trunk


def compute(network: nn.Module, x: Tensor, form: Form) -> Tensor:
    """Compute an SRDenseNet with the paper's own parts.

    Args:
        network (nn.Module): The network.
        x (Tensor): Shape (N, in_channels, H, W), float.
        form (str): ``'lean'``: sums are made in place, and wide maps in pieces.
            This is fast and takes little memory, but it has no gradients and
            cannot be traced. ``'trained'``: with gradients. ``'traced'``: with
            gradients, for a compiler or an exporter.

    Returns:
        Tensor: Shape (N, out_channels, s * H, s * W).
    """
    x = bottleneck_maps(network, x, form)
    return checkpointed(network.with_cp, functools.partial(
        tail, upsampler=network.upsampler, conv_last=network.conv_last, form=form), x)


def bottleneck_maps(network: nn.Module, x: Tensor, form: Form) -> Tensor:
    """Compute the maps that the upsampler reads.

    Args:
        network (nn.Module): An SRDenseNet with the paper's own parts up to
            the bottleneck, or another network with these.
        x (Tensor): Shape (N, in_channels, H, W), float.
        form (str): See :func:`compute`.

    Returns:
        Tensor: Shape (N, bottleneck_channels, H, W).
    """
    x = trunk(network, x, form)
    return F.relu(x) if network.bottleneck_act else x
