# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""LIIF's blending of the values that the pixels around a point predict for it."""
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# In the units of coordinates, as in MMagic: a point on a pixel's centre lies behind it, whatever
# rounding errors its coordinates have.
_EPS = 1e-6


def local_ensemble(value: Callable[[Tensor, Tensor], Tensor],
                   coord: Tensor,
                   cell: Tensor | None,
                   size: tuple[int, int],
                   four: bool = True) -> Tensor:
    """Blend the predictions of the pixels around points.

    A prediction weighs as much as the area between the point and the pixel
    opposite. So the result has no steps where the nearest pixel changes. The
    weights are products of those along the two axes. MMagic divides areas
    instead: at the centres of the last row and column these are rounding errors.

    Args:
        value (Callable): (pixel, place) -> prediction, (N, Q, C). ``pixel`` is
            the index of a pixel of each image, row by row, shape (N, Q).
            ``place``, shape (N, Q, 2 or 4), is where the point lies from its
            centre, and ``cell``, both in units of half a pixel.
        coord (Tensor): Points (y, x), shape (N, Q, 2), -1..1 across the image.
        cell (Tensor, optional): Height and width of an output pixel in the same
            units, shape (N, Q, 2). None: not told to ``value``.
        size (Tuple[int, int]): Height and width of the image.
        four (bool): Four pixels around each point, or the nearest alone.
            Defaults to True.

    Returns:
        Tensor: Shape (N, Q, C).
    """
    lengths = coord.new_tensor(size)
    points = (coord + 1) * lengths / 2 - 0.5  # in pixels; 0 is the first one's centre
    sides = [points.round()]
    if four:
        before = (points + _EPS * lengths / 2).floor()
        sides = [before, before + 1]
    # Beyond the border, both are the border's pixel.
    sides = [torch.minimum(side.clamp(min=0), lengths - 1) for side in sides]
    offsets = [2 * (points - side) for side in sides]
    weights = _weights(offsets)
    told = [] if cell is None else [cell * lengths]
    total = None
    for down, right in _pairs(len(sides)):
        pixel = sides[down][..., 0] * size[1] + sides[right][..., 1]
        offset = torch.stack([offsets[down][..., 0], offsets[right][..., 1]], dim=-1)
        weight = weights[down][..., 0] * weights[right][..., 1]
        part = value(pixel.long(), torch.cat([offset, *told], dim=-1))
        part = part * weight.unsqueeze(-1).to(part.dtype)
        total = part if total is None else total + part
    return total


def _weights(offsets: list[Tensor]) -> list[Tensor]:
    """Along both axes: each pixel's weight is the distance of the other one."""
    if len(offsets) == 1:
        return [torch.ones_like(offsets[0])]
    before, behind = (offset.abs() + 1e-9 for offset in offsets)
    total = before + behind
    return [behind / total, before / total]


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    return ((down, right) for down in range(count) for right in range(count))
