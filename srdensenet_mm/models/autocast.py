# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch
from torch import Tensor, nn


def is_autocast(x: Tensor) -> bool:
    """Whether autocast is on for a tensor's device; torch raises for ``'meta'``."""
    # A symbolic tracer passes a proxy instead of a tensor.
    return (isinstance(x, Tensor) and x.device.type != 'meta'
            and torch.is_autocast_enabled(x.device.type))


def in_float32(module: nn.Module, x: Tensor) -> Tensor:
    """Call a module, in float32 where autocast would round its input to 16 bits.

    The layers that read and make the image need this: in bf16, an image is off
    by up to half a level.

    Args:
        module (nn.Module): Any module. If its weights are not float32, it is
            called as it is.
        x (Tensor): Its input.

    Returns:
        Tensor: Its output, float32 under autocast.
    """
    if not is_autocast(x) or any(p.dtype is not torch.float32 for p in module.parameters()):
        return module(x)
    with torch.autocast(x.device.type, enabled=False):
        return module(x.float())
