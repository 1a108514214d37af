# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The one picture, random and of a given size, that time and memory are measured with."""
from collections.abc import Callable, Sequence

import numpy as np
import torch

from srdensenet_mm.datasets.matlab_bicubic import matlab_bicubic_upscale

from .contenders import Contender


def _random_picture(size: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def bicubic_call(size: Sequence[int], scale: int) -> Callable[[], object]:
    """Bicubic upscaling of an RGB picture of a size (height, width)."""
    picture = _random_picture(size)
    return lambda: matlab_bicubic_upscale(picture, scale)


def torch_call(contender: Contender, size: Sequence[int]) -> Callable[[], object]:
    """A model's upscaling of an RGB picture that is on its device already."""
    device = next(contender.generator.parameters()).device
    picture = torch.from_numpy(_random_picture(size)).permute(2, 0, 1)[None].to(device)
    picture = (picture.float() / 255).contiguous()
    return lambda: contender.upscale(picture)
