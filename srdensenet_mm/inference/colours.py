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
from .tiling import Axis, Span

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


def image_part(out: Tensor, image: np.ndarray, rows: slice, cols: slice, axes: tuple[Axis, Axis],
               model: Upscaling) -> np.ndarray:
    """Make a part of the upscaled image from the network's output.

    With a network on luma, Cb and Cr are upscaled by bicubic interpolation, as
    in :class:`LumaEditModel`. Alpha always is.

    Args:
        out (Tensor): The network's output for this part, shape (1,
            model.channels, h', w').
        image (np.ndarray): The whole image before upscaling, (H, W, C).
        rows, cols (slice): The part, in LR pixels.
        axes (Tuple[Axis, Axis]): The image's height and width.
        model (Upscaling): The network.

    Returns:
        np.ndarray: Shape (h', w', C), of the image's type.
    """
    source = _Bicubic(image, (rows, cols), axes, out.device)
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

    def __init__(self, image, part, axes, device):
        first = [max(0, kept.start - _BICUBIC_MARGIN) for kept in part]
        stop = [min(axis.length, kept.stop + _BICUBIC_MARGIN)
                for kept, axis in zip(part, axes, strict=True)]
        self.part = to_float(image, *map(slice, first, stop), device)
        self.spans = [Span(*ends, kept.start, kept.stop)
                      for *ends, kept in zip(first, stop, part, strict=True)]
        self.axes = axes

    def upscaled(self, select) -> Tensor:
        values = select(self.part)
        if any(axis.out_length % axis.length for axis in self.axes):
            for dim, axis, span in zip((-2, -1), self.axes, self.spans, strict=True):
                values = _bicubic_along(values, dim, axis.points(span))
            return values
        scales = [axis.out_length // axis.length for axis in self.axes]
        size = [scale * length for scale, length in zip(scales, values.shape[-2:], strict=True)]
        values = F.interpolate(values, size=size, mode='bicubic', align_corners=False)
        rows, cols = (slice(scale * (span.keep_start - span.start),
                            scale * (span.keep_stop - span.start))
                      for scale, span in zip(scales, self.spans, strict=True))
        return values[..., rows, cols]


def _bicubic_along(values: Tensor, dim: int, points: Tensor) -> Tensor:
    """torch's bicubic interpolation (a = -0.75) along one axis, at any points of it."""
    a, before = -0.75, points.floor()
    total = 0
    for tap in range(-1, 3):
        index = (before + tap).clamp(0, values.size(dim) - 1).long()
        d = (points - before - tap).abs()
        weight = torch.where(d <= 1, ((a + 2) * d - (a + 3)) * d**2 + 1,
                             ((a * d - 5 * a) * d + 8 * a) * d - 4 * a)
        weight = weight.to(values).view([-1] + [1] * (-1 - dim))
        total = total + weight * values.index_select(dim, index.to(values.device))
    return total


def _column(numbers, like: Tensor) -> Tensor:
    return torch.tensor(tuple(numbers)).to(like).view(1, -1, 1, 1)
