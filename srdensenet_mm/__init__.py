# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet as a plugin of MMagic.

Importing the package registers its modules. So ``custom_imports =
dict(imports=['srdensenet_mm'])`` is all that a config needs. The modules are
imported when a registry first looks for one of them. This import itself takes
neither MMagic nor torch, so that a tool's ``--help`` is there at once.
Without MMagic, the network and :mod:`srdensenet_mm.spandrel` work.
"""
from . import compat
from .version import __version__

if compat.has_mmagic():
    compat.silence_transformers()
    compat.check_environment()
    compat.work_around_imports()

__all__ = ['__version__']
