# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""From an image as OpenCV reads it to a network's input, and back.

All functions work on parts of an image, so a large one never exists in floats
as a whole.
"""
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srdensenet_mm.images.tensors import to_float, to_integer
from srdensenet_mm.models.colour import join_luma, luma_of, rgb_to_ycbcr

from .networks import Upscaling

# Margin of bicubic interpolation, in pixels.
_BICUBIC_MARGIN = 2


def network_inputs(colours: Tensor, model: Upscaling) -> Tensor:
    """The network's input for a part of an image.

    Args:
        colours (Tensor): RGB or grayscale, shape (1, 3 | 1, h, w), 0..1.
        model (Upscaling): The network.

    Returns:
        Tensor: Shape (1, model.channels, h, w).
    """
    if model.colour == 'y':
        return luma_of(colours)
    rgb = colours.expand(-1, 3, -1, -1) * 255
    if model.colour == 'bgr':
        rgb = rgb.flip(1)
    return (rgb - _column(model.mean, rgb)) / _column(model.std, rgb)


def image_part(out: Tensor, image: np.ndarray, rows: slice, cols: slice,
                 model: Upscaling) -> np.ndarray:
    """Make a part of the upscaled image from the network's output.

    With a network on luma, Cb and Cr are upscaled by bicubic interpolation, as
    in :class:`LumaEditModel`. Alpha always is.

    Args:
        out (Tensor): The network's output for this part, shape (1,
            model.channels, s*h, s*w).
        image (np.ndarray): The whole image before upscaling, (H, W, C).
        rows, cols (slice): The part: h rows and w columns.
        model (Upscaling): The network.

    Returns:
        np.ndarray: Shape (s*h, s*w, C), of the image's type.
    """
    source = _Bicubic(image, rows, cols, model.scale, out.device)
    channels = image.shape[2]
    out = out.float()
    if model.colour == 'y':
        chroma = source.upscaled(
            lambda part: rgb_to_ycbcr(part[:, :3].expand(-1, 3, -1, -1) * 255)[:, 1:])
        colours = join_luma(out, chroma)
        colours = colours if channels >= 3 else colours[:, :1]
    else:
        colours = (out * _column(model.std, out) + _column(model.mean, out)) / 255
        if model.colour == 'bgr':
            colours = colours.flip(1)
        colours = colours if channels >= 3 else colours.mean(1, keepdim=True)
    if channels == 4:
        colours = torch.cat([colours, source.upscaled(lambda part: part[:, 3:])], dim=1)
    return to_integer(colours, image.dtype)


class _Bicubic:
    """Bicubic interpolation of a part of an image, with the same values as for the whole."""

    def __init__(self, image, rows, cols, scale, device):
        height, width = image.shape[:2]
        top, left = max(0, rows.start - _BICUBIC_MARGIN), max(0, cols.start - _BICUBIC_MARGIN)
        self.part = to_float(
            image,
            slice(top, min(height, rows.stop + _BICUBIC_MARGIN)),
            slice(left, min(width, cols.stop + _BICUBIC_MARGIN)), device)
        self.rows = slice(scale * (rows.start - top), scale * (rows.stop - top))
        self.cols = slice(scale * (cols.start - left), scale * (cols.stop - left))
        self.size = [scale * length for length in self.part.shape[-2:]]

    def upscaled(self, select) -> Tensor:
        values = F.interpolate(
            select(self.part), size=self.size, mode='bicubic', align_corners=False)
        return values[..., self.rows, self.cols]


def _column(numbers, like: Tensor) -> Tensor:
    return torch.tensor(tuple(numbers)).to(like).view(1, -1, 1, 1)
