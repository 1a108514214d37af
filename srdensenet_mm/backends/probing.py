# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The scale of a network, found by running it."""
import torch
from torch import Tensor, nn

from srdensenet_mm.errors import UserError
from srdensenet_mm.models.at_points import takes_points


def find_scale(network: nn.Module, channels: int) -> int:
    """How much a network upscales, found by running it.

    Raises:
        UserError: It does not upscale images with this number of channels.
    """
    if takes_points(network):
        raise UserError(f'{type(network).__name__} upscales by any factor, which only '
                        'tools/infer.py --scale and tools/test.py can use')
    inputs = torch.zeros(1, channels, 16, 24, dtype=torch.float32)
    try:
        with torch.no_grad():
            out = network(inputs)
    except Exception as error:  # e.g. a network that needs more inputs than an image
        raise UserError(f'{type(network).__name__} does not upscale an image of {channels} '
                        f'channels: {error}') from error
    if isinstance(out, Tensor) and out.dim() == 4 and out.size(1) == channels:
        scale = out.size(-1) // 24
        if scale >= 1 and out.shape[-2:] == (16 * scale, 24 * scale):
            return scale
    raise UserError(f'{type(network).__name__} does not upscale images: it made '
                    f'{tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__} of '
                    f'{tuple(inputs.shape)}')
