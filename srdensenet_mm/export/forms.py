# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What goes into a graph and comes out of it: luma, or colours."""
from torch import Tensor, nn

from srdensenet_mm.errors import UserError
from srdensenet_mm.models.colour import RGBThroughLuma

COLOURS = ('y', 'rgb')


class ClippedRGB(nn.Module):
    """A network on RGB, its output clipped to 0..1 as that of the luma model is.

    Args:
        network (nn.Module): RGB -> RGB.
    """

    in_channels = 3

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """RGB, shape (N, 3, H, W), 0..1 -> (N, 3, s*H, s*W), 0..1."""
        return self.network(inputs).clamp(0, 1)


def graph_form(network: nn.Module, works_on: str, colour: str | None) -> tuple[nn.Module, str]:
    """Put around a network what a graph of a colour needs.

    Args:
        network (nn.Module): The bare network.
        works_on (str): ``'y'`` or ``'rgb'``, what the network works on.
        colour (str, optional): ``'y'`` or ``'rgb'``, what the graph is to read
            and yield. None makes it what the network works on.

    Returns:
        tuple: The module to export, and its colour: ``'y'``: Y / 255, (N, 1,
        H, W) -> (N, 1, s*H, s*W), not clipped. ``'rgb'``: (N, 3, H, W) -> (N,
        3, s*H, s*W), both 0..1, clipped; with a network on luma, the
        conversion to YCbCr and back and the bicubic interpolation of Cb and
        Cr are part of it.

    Raises:
        UserError: The colour is neither, or luma is asked of an RGB network.
    """
    colour = works_on if colour is None else colour
    if colour not in COLOURS:
        raise UserError(f'colour={colour!r} is not supported: choose one of {", ".join(COLOURS)}')
    if works_on == 'y':
        return (network if colour == 'y' else RGBThroughLuma(network)).eval(), colour
    if colour == 'y':
        raise UserError('colour=y: this is an RGB network, which only has the form colour=rgb')
    return ClippedRGB(network).eval(), colour
