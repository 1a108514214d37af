# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What runs a network in a benchmark."""
from torch import nn

TORCH = 'torch'


def check(backend: str) -> None:
    pass


def wrap(generator: nn.Module, backend: str) -> nn.Module:
    raise NotImplementedError
