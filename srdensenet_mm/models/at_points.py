# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Whole images from networks that compute values at points, as MMagic's LIIF does."""
from collections.abc import Callable

import torch
from torch import Tensor, nn


def takes_points(network: nn.Module) -> bool:
    """Whether a network computes values at any points of an image: it upscales by any factor."""
    return all(hasattr(network, name) for name in ('gen_feature', 'query_rgb'))


def output_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """The size of an upscaled image: both sides rounded, at least 1."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def output_points(length: int, out_length: int) -> Tensor:
    """Where the output pixels of an axis lie between the input pixels.

    Args:
        length (int): Input pixels.
        out_length (int): Output pixels.

    Returns:
        Tensor: Shape (out_length, ), float64. 0 is the centre of the first
        input pixel, ``length - 1`` that of the last.
    """
    pixels = torch.arange(out_length, dtype=torch.float64, device='cpu')
    # One division: values that are whole numbers are exact.
    return ((2 * pixels + 1) * length - out_length) / (2 * out_length)


class AtPoints(nn.Module):
    """A network that computes values at points, computed on a grid of them.

    Args:
        network (nn.Module): Is called as MMagic's ``LIIFEDSRNet``: (image,
            coord, cell, test_mode) -> (N, Q, C).
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, rows: Tensor, cols: Tensor, step: tuple[float, float]) -> Tensor:
        """Compute the values at all crossings of rows and columns.

        Args:
            x (Tensor): Shape (N, C, H, W), float.
            rows, cols (Tensor): Shapes (H', ) and (W', ), as from
                :func:`output_points`.
            step (Tuple[float, float]): Height and width of an output pixel, in
                input pixels.

        Returns:
            Tensor: Shape (N, C', H', W').
        """
        height, width = x.shape[-2:]
        # In float64 up to here: a part of an image gets the points of the whole.
        axes = [((2 * points + 1) / length - 1).to(x.device, torch.float32)
                for points, length in ((rows, height), (cols, width))]
        coord = torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=-1).flatten(0, 1)
        coord = coord.expand(len(x), -1, -1)
        cell = coord.new_tensor([2 * step[0] / height, 2 * step[1] / width])
        out = self.network(x, coord, cell.expand_as(coord), test_mode=True)
        return out.mT.unflatten(2, (len(rows), len(cols)))


def upscale_to(function: Callable[..., Tensor], x: Tensor, size: tuple[int, int]) -> Tensor:
    """Upscale whole images to a size.

    Args:
        function (Callable): An :class:`AtPoints`.
        x (Tensor): Shape (N, C, H, W), float.
        size (Tuple[int, int]): Height and width of the output.

    Returns:
        Tensor: Shape (N, C', *size).
    """
    lengths = x.shape[-2:]
    rows, cols = map(output_points, lengths, size)
    return function(x, rows, cols, (lengths[0] / size[0], lengths[1] / size[1]))


class UpscaledBy(nn.Module):
    """A network that computes values at points, as one with a fixed scale.

    Args:
        function (Callable): An :class:`AtPoints`, or another function with its
            arguments.
        scale (float): The scale.
    """

    def __init__(self, function: Callable[..., Tensor], scale: float):
        super().__init__()
        self.function = function
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'), see :func:`output_size`."""
        return upscale_to(self.function, x, output_size(*x.shape[-2:], self.scale))


def self_ensemble_at_points(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make an :class:`AtPoints` average over the eight flips and rotations.

    The points are flipped with the image.
    """

    def averaged(x: Tensor, rows: Tensor, cols: Tensor, step: tuple[float, float]) -> Tensor:
        total = None
        for transposed in (False, True):
            turned, axes, steps = x, [rows, cols], step
            if transposed:
                turned, axes, steps = x.mT, axes[::-1], step[::-1]
            for flips in ((), (-2, ), (-1, ), (-2, -1)):
                points = [(length - 1 - along).flip(0) if axis in flips else along
                          for axis, along, length in zip((-2, -1), axes, turned.shape[-2:],
                                                         strict=True)]
                out = function(turned.flip(flips), *points, steps).flip(flips)
                out = out.mT if transposed else out
                total = out.clone() if total is None else total.add_(out)
        return total.div_(8)

    return averaged
