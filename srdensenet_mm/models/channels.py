# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from torch import nn


def channels_of(network: nn.Module) -> int:
    """The number of channels that a network reads.

    Its attribute ``in_channels``, else that of its first convolution, else 3.
    """
    known = getattr(network, 'in_channels', None)
    if known is not None:
        return known
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    return first.in_channels if first is not None else 3
