# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""RGB pictures through a network that works on luma."""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .colour import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb


class RGBThroughLuma(nn.Module):
    """A network on luma as one on RGB.

    Y goes through the network, Cb and Cr through bicubic interpolation, which
    is how the paper's networks make colour pictures (section 4.1).

    Args:
        network (nn.Module): 1 -> 1 channel. It reads and yields Y / 255 (Y in
            studio range, 16..235).
    """

    in_channels = 3

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Upscale, see :func:`upscale_through_luma`."""
        return upscale_through_luma(self.network, inputs)


def upscale_through_luma(network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Upscale a batch of colour or grayscale pictures with a network on luma.

    Args:
        network (Callable): As for :class:`RGBThroughLuma`.
        inputs (Tensor): RGB, shape (N, 3, H, W), or grayscale, taken as R = G
            = B, shape (N, 1, H, W); float, 0..1.

    Returns:
        Tensor: RGB or grayscale like the input, shape (N, C, s*H, s*W), float,
        0..1 (clipped).
    """
    y, chroma = rgb_to_ycbcr(inputs.expand(-1, 3, -1, -1) * 255).split([1, 2], dim=1)
    y = network(y / 255)
    chroma = F.interpolate(chroma, size=y.shape[-2:], mode='bicubic', align_corners=False)
    rgb = join_luma(y, chroma)
    return rgb if inputs.size(1) == 3 else rgb[:, :1]


def luma_of(colours: Tensor) -> Tensor:
    """What a network on luma reads of colour or grayscale pictures.

    Args:
        colours (Tensor): RGB, shape (N, 3, H, W), or grayscale, taken as R = G
            = B, shape (N, 1, H, W); float, 0..1.

    Returns:
        Tensor: Y / 255, shape (N, 1, H, W).
    """
    return rgb_to_y(colours.expand(-1, 3, -1, -1) * 255) / 255


def join_luma(y: Tensor, chroma: Tensor) -> Tensor:
    """RGB out of what a network on luma yields, and the chroma that goes with it.

    Args:
        y (Tensor): Y / 255, shape (N, 1, H, W), of any floating-point type.
        chroma (Tensor): Cb and Cr, shape (N, 2, H, W), float32, 0..255.

    Returns:
        Tensor: Shape (N, 3, H, W), float32, 0..1 (clipped).
    """
    # What a luma outside studio range would become is no picture's value.
    y = (y.float() * 255).clamp(16, 235)
    return ycbcr_to_rgb(torch.cat([y, chroma], dim=1)).clamp(0, 255) / 255
