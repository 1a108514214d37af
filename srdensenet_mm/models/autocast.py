# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch
from torch import Tensor


def is_autocast(x: Tensor) -> bool:
    """Whether autocast is on for a tensor's device; torch refuses to say it of ``'meta'``."""
    return x.device.type != 'meta' and torch.is_autocast_enabled(x.device.type)
