# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The scale of a network, found by running it."""
import torch
from torch import Tensor, nn

from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.models.at_points import takes_points


def find_scale(network: nn.Module, channels: int, device: str | torch.device = 'cpu',
               **settings) -> int:
    """How much a network or a model upscales, found by running it.

    Args:
        network (nn.Module): On ``device``.
        channels (int): Channels of an image.
        device (str | torch.device): Defaults to the CPU.
        **settings: Further arguments of its ``forward``.

    Raises:
        UserError: It does not upscale images with this number of channels.
    """
    if takes_points(network):
        raise UserError(f'{type(network).__name__} upscales by any factor, which only '
                        'tools/infer.py --scale and tools/test.py can use')
    inputs = torch.zeros(1, channels, 16, 24, dtype=torch.float32, device=device)
    # All kinds of exceptions, e.g. of a network that needs more inputs than an image.
    with naming(f'{type(network).__name__} does not upscale images', 'it failed', Exception):
        with torch.no_grad():
            out = network(inputs, **settings)
        made = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        scale = out.size(-1) // 24 if isinstance(out, Tensor) and out.dim() == 4 else 0
        if not scale or made != (1, channels, 16 * scale, 24 * scale):
            raise UserError(f'it made {made} of {tuple(inputs.shape)}')
    return scale
