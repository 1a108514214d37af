# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The networks, their parts, and the models that train them on luma.

``LumaEditModel`` and ``LumaLIIF`` are imported on first use: their base class
imports all of MMagic's models (and diffusers), which the bare networks do not
need.
"""
import importlib

from .deconv_upsampler import DeconvUpsampler
from .dense_block import DenseBlock
from .liif_srdensenet import LIIFSRDenseNet
from .srdensenet import SRDenseNet

_ON_FIRST_USE = {'LumaEditModel': '.luma_edit_model', 'LumaLIIF': '.luma_liif'}

__all__ = ['SRDenseNet', 'DenseBlock', 'DeconvUpsampler', 'LIIFSRDenseNet', 'LumaEditModel',
           'LumaLIIF']


def __getattr__(name: str):
    if name in _ON_FIRST_USE:
        return getattr(importlib.import_module(_ON_FIRST_USE[name], __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
