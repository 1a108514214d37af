# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Averaging over flips and rotations (Timofte et al., CVPR 2016)."""
from collections.abc import Callable

import torch
from torch import Tensor


def self_ensemble(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make an upscaling function average over the eight flips and rotations.

    Floats are averaged, before any rounding. The receptive field stays that of
    ``function``, the largest of its four sides.

    Args:
        function (Callable): Upscales a batch: (N, C, H, W) -> (N, C', s*H,
            s*W), for any H and W.

    Returns:
        Callable: The same, in eight times the time.
    """

    def averaged(inputs: Tensor) -> Tensor:
        total = None
        for flip in (False, True):
            flipped = inputs.flip(-1) if flip else inputs
            for quarters in range(4):
                out = function(torch.rot90(flipped, quarters, (-2, -1)))
                out = torch.rot90(out, -quarters, (-2, -1))
                out = out.flip(-1) if flip else out
                total = out.clone() if total is None else total.add_(out)
        return total.div_(8)

    return averaged
