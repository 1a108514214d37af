# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A network's number of parameters and of multiply-adds."""
import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srdensenet_mm.models.fused import computing

# The size of output that the field states multiply-adds for.
OUTPUT_WIDTH, OUTPUT_HEIGHT = 1280, 720


def count_parameters(network: nn.Module) -> int:
    """All parameters of a network, trainable or not."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module,
                        in_channels: int,
                        upscale_factor: int,
                        width: int = OUTPUT_WIDTH,
                        height: int = OUTPUT_HEIGHT) -> int:
    """Multiply-adds of convolutions and matrix products for one image.

    Args:
        network (nn.Module): Maps (1, in_channels, h, w) to s times that size.
            It is not changed.
        in_channels (int): Channels of its input.
        upscale_factor (int): s. The input is the output's size divided by it,
            rounded.
        width (int): Width of the output. Defaults to 1280.
        height (int): Height of the output. Defaults to 720.

    Returns:
        int: Half of the floating-point operations that torch counts.
    """
    size = (round(height / upscale_factor), round(width / upscale_factor))
    try:
        # Shapes only: nothing is computed.
        return _count(copy.deepcopy(network).to('meta'), in_channels, *size, 'meta')
    except (RuntimeError, NotImplementedError):
        # Its forward looks at values. Convolutions grow with the area.
        device = next(network.parameters()).device
        return round(_count(network, in_channels, 64, 64, device) * size[0] * size[1] / 64**2)


def _count(network, in_channels, height, width, device) -> int:
    was_training = network.training
    with torch.no_grad(), computing('plain'), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, in_channels, height, width, device=device))
    network.train(was_training)
    return counter.get_total_flops() // 2
