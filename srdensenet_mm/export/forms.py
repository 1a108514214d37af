# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Input and output of an exported graph: luma or RGB."""
from torch import Tensor, nn

from srdensenet_mm.errors import UserError
from srdensenet_mm.models.colour import RGBThroughLuma

COLOURS = ('y', 'rgb')


class ClippedRGB(nn.Module):
    """A network on RGB with its output clipped to 0..1, as in the luma model.

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
    """Wrap a network for a graph with input and output of a given colour.

    Args:
        network (nn.Module): The bare network.
        works_on (str): The network's colour, ``'y'`` or ``'rgb'``.
        colour (str, optional): The graph's colour, ``'y'`` or ``'rgb'``. None:
            as the network.

    Returns:
        tuple: The module to export, and its colour. ``'y'``: Y / 255, (N, 1,
        H, W) -> (N, 1, s*H, s*W), not clipped. ``'rgb'``: (N, 3, H, W) -> (N,
        3, s*H, s*W), both 0..1, clipped. For a network on luma, the graph
        converts to YCbCr and back, and upscales Cb and Cr by bicubic
        interpolation.

    Raises:
        UserError: The colour is neither, or it is luma and the network's is RGB.
    """
    colour = works_on if colour is None else colour
    if colour not in COLOURS:
        raise UserError(f'colour={colour!r} is not supported: choose one of {", ".join(COLOURS)}')
    if works_on == 'y':
        return (network if colour == 'y' else RGBThroughLuma(network)).eval(), colour
    if colour == 'y':
        raise UserError('colour=y: this is an RGB network, which only has the form colour=rgb')
    return ClippedRGB(network).eval(), colour
