# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Weights in files: reading them safely, converting other people's, publishing."""
from .converting import convert_checkpoint
from .published import find_weights
from .publishing import publish_checkpoint
from .reading import load_network, load_network_with_meta
from .writing import save_network

__all__ = [
    'convert_checkpoint', 'find_weights', 'load_network', 'load_network_with_meta',
    'publish_checkpoint', 'save_network'
]
