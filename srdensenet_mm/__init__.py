# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet as a plugin of MMagic.

Importing the package registers its modules. So ``custom_imports =
dict(imports=['srdensenet_mm'])`` is all that a config needs. The modules are
imported when a registry first looks for one of them, so this import stays fast.
Without MMagic, the network and :mod:`srdensenet_mm.spandrel` work.
"""
from . import compat
from .version import __version__

if compat.has_mmagic():
    compat.silence_transformers()
    compat.check_environment()
    compat.stand_in_for_mmcv_ops()
    compat.register_on_demand()
    compat.allow_runner_checkpoints()

__all__ = ['__version__']
