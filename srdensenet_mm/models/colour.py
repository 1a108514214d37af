# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""RGB and YCbCr of ITU-R BT.601 in studio range, on tensors.

The paper's networks work on luma alone, Y = 16 + (65.481 R + 128.553 G +
24.966 B) / 255 with R, G, B in 0..255, the convention of MATLAB's ``rgb2ycbcr``
that MMagic's metrics follow with ``convert_to='Y'``.
"""
from collections.abc import Sequence

import torch
from torch import Tensor

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
    """The luma of an RGB picture.

    Args:
        rgb (Tensor): Shape (..., 3, H, W), float, 0..255.

    Returns:
        Tensor: Y, shape (..., 1, H, W), 16..235.

    Raises:
        ValueError: The picture has not 3 channels.
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
        ValueError: The picture has not 3 channels.
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
        Tensor: R, G, B in 0..255 (beyond it where the colour has no RGB),
        shape (..., 3, H, W). Not clipped.

    Raises:
        ValueError: The picture has not 3 channels.
    """
    _check_rgb(ycbcr)
    offset = torch.tensor(_OFFSET).to(ycbcr).view(3, 1, 1)
    return _transform(ycbcr - offset, _TO_RGB)
