# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The network, its parts, and the model that trains it on luma.

``LumaEditModel`` is imported on first use: its base class imports all of
MMagic's models (and diffusers), which the bare network does not need.
"""
from .deconv_upsampler import DeconvUpsampler
from .dense_block import DenseBlock
from .srdensenet import SRDenseNet

__all__ = ['SRDenseNet', 'DenseBlock', 'DeconvUpsampler', 'LumaEditModel']


def __getattr__(name: str):
    if name == 'LumaEditModel':
        from .luma_edit_model import LumaEditModel
        return LumaEditModel
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
