# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""RGB and YCbCr of ITU-R BT.601 in studio range, on tensors.

The paper's networks work on luma alone: Y = 16 + (65.481 R + 128.553 G +
24.966 B) / 255, with R, G, B in 0..255. MATLAB's ``rgb2ycbcr`` and MMagic's
metrics with ``convert_to='Y'`` use the same formula.
"""
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Rows: Y, Cb, Cr. Columns: R, G, B. All in 0..255.
_FROM_RGB = [[share / 255 for share in row] for row in (
    (65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))]
_OFFSET = (16.0, 128.0, 128.0)
# Rows: R, G, B; columns: Y, Cb, Cr.
_TO_RGB = torch.linalg.inv(
    torch.tensor(_FROM_RGB, dtype=torch.float64, device='cpu')).tolist()


def _transform(image: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    # Written out rather than as a matrix product, which autocast would compute
    # in 16 bits.
    channels = image.unbind(dim=-3)
    return torch.stack([
        sum(weight * channel for weight, channel in zip(row, channels, strict=True))
        for row in matrix
    ], dim=-3)


def _check_rgb(image: Tensor) -> None:
    if image.dim() < 3 or image.size(-3) != 3:
        raise ValueError(f'expected 3 channels, shape (..., 3, H, W), got {tuple(image.shape)}')


def rgb_to_y(rgb: Tensor) -> Tensor:
    """The luma of an RGB image.

    Args:
        rgb (Tensor): Shape (..., 3, H, W), float, 0..255.

    Returns:
        Tensor: Y, shape (..., 1, H, W), 16..235.

    Raises:
        ValueError: The image does not have 3 channels.
    """
    _check_rgb(rgb)
    return _transform(rgb, _FROM_RGB[:1]) + _OFFSET[0]


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """RGB to YCbCr.

    Args:
        rgb (Tensor): Shape (..., 3, H, W), float, 0..255.

    Returns:
        Tensor: Y (16..235), Cb and Cr (16..240), shape (..., 3, H, W).

    Raises:
        ValueError: The image does not have 3 channels.
    """
    _check_rgb(rgb)
    offset = torch.tensor(_OFFSET).to(rgb).view(3, 1, 1)
    return _transform(rgb, _FROM_RGB) + offset


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """YCbCr to RGB, the inverse of :func:`rgb_to_ycbcr`.

    Args:
        ycbcr (Tensor): Shape (..., 3, H, W), float, Y in 16..235, Cb and Cr in
            16..240.

    Returns:
        Tensor: R, G, B in 0..255, shape (..., 3, H, W). Not clipped: colours
        that RGB cannot show lie outside this range.

    Raises:
        ValueError: The image does not have 3 channels.
    """
    _check_rgb(ycbcr)
    offset = torch.tensor(_OFFSET).to(ycbcr).view(3, 1, 1)
    return _transform(ycbcr - offset, _TO_RGB)


class RGBThroughLuma(nn.Module):
    """Makes a network on luma work on RGB.

    The network upscales Y, bicubic interpolation upscales Cb and Cr. The paper
    makes colour images in the same way (section 4.1).

    Args:
        network (nn.Module): 1 -> 1 channel. Its input and output are Y / 255
            (Y in studio range, 16..235).
    """

    in_channels = 3

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Upscale, see :func:`upscale_through_luma`."""
        return upscale_through_luma(self.network, inputs)


def upscale_through_luma(network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Upscale a batch of colour or grayscale images with a network on luma.

    Args:
        network (Callable): As for :class:`RGBThroughLuma`.
        inputs (Tensor): RGB, shape (N, 3, H, W), or grayscale (counts as R = G
            = B), shape (N, 1, H, W). Float, 0..1.

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
    """The luma of colour or grayscale images, as a network on luma reads it.

    Args:
        colours (Tensor): RGB, shape (N, 3, H, W), or grayscale (counts as R = G
            = B), shape (N, 1, H, W). Float, 0..1.

    Returns:
        Tensor: Y / 255, shape (N, 1, H, W).
    """
    return rgb_to_y(colours.expand(-1, 3, -1, -1) * 255) / 255


def join_luma(y: Tensor, chroma: Tensor) -> Tensor:
    """Make RGB from the output of a network on luma and the chroma that belongs to it.

    Args:
        y (Tensor): Y / 255, shape (N, 1, H, W), of any floating-point type.
        chroma (Tensor): Cb and Cr, shape (N, 2, H, W), float32, 0..255.

    Returns:
        Tensor: Shape (N, 3, H, W), float32, 0..1 (clipped).
    """
    # No image has a luma outside studio range.
    y = (y.float() * 255).clamp(16, 235)
    return ycbcr_to_rgb(torch.cat([y, chroma], dim=1)).clamp(0, 255) / 255
