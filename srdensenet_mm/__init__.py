# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet as a plugin of MMagic.

Importing the package registers its modules, so that ``custom_imports =
dict(imports=['srdensenet_mm'])`` is all that a config needs. They are imported
when a registry is first asked for one of them, so that this import stays
light. Where MMagic is not installed, what needs it says so when it is imported;
the network and :mod:`srdensenet_mm.spandrel` work without.
"""
from . import compat
from .version import __version__

if compat.has_mmagic():
    compat.silence_transformers()
    compat.check_environment()
    compat.stand_in_for_mmcv_ops()
    compat.register_on_demand()
    compat.allow_runner_checkpoints()
else:
    compat.name_missing_mmagic()

__all__ = ['__version__']
