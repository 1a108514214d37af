# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""RGB pictures through a network that works on luma."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .colour import rgb_to_ycbcr, ycbcr_to_rgb


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


def upscale_through_luma(network: nn.Module, inputs: Tensor, **kwargs) -> Tensor:
    """Upscale a batch of colour or grayscale pictures with a network on luma.

    Args:
        network (nn.Module): As for :class:`RGBThroughLuma`.
        inputs (Tensor): RGB, shape (N, 3, H, W), or grayscale, taken as R = G
            = B, shape (N, 1, H, W); float, 0..1.
        **kwargs: What else the network is called with.

    Returns:
        Tensor: RGB or grayscale like the input, shape (N, C, s*H, s*W), float,
        0..1 (clipped).
    """
    rgb = inputs.expand(-1, 3, -1, -1) * 255
    y, chroma = rgb_to_ycbcr(rgb).split([1, 2], dim=1)
    y = network(y / 255, **kwargs).float() * 255
    # What a luma outside studio range would become is no picture's value.
    y = y.clamp(16, 235)
    chroma = F.interpolate(chroma, size=y.shape[-2:], mode='bicubic', align_corners=False)
    rgb = ycbcr_to_rgb(torch.cat([y, chroma], dim=1)).clamp(0, 255) / 255
    return rgb if inputs.size(1) == 3 else rgb[:, :1]
