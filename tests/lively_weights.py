# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Weights with which every part of a network shows in its output."""
from torch import nn

from srdensenet_mm.models.initialization import he_normal


def make_lively(network):
    """He-normal weights and random biases; a new network's output is mostly the image.

    A bias of zero would hide that it is left out.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            he_normal(module)
            nn.init.normal_(module.bias, std=0.1)
    return network
