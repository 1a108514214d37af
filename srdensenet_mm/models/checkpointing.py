# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint


def checkpointed(switch: bool, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Call a function, with gradient checkpointing where it is on and the input needs gradients.

    Args:
        switch (bool): Whether it is switched on.
        function (Callable[[Tensor], Tensor]): What to call.
        x (Tensor): Its argument.

    Returns:
        Tensor: Its output. With checkpointing, the backward pass calls the
        function again.
    """
    if switch and x.requires_grad:
        return checkpoint(function, x, use_reentrant=False)
    return function(x)
