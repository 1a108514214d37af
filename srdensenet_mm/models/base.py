# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What the network's modules are built on: MMagic's registry, MMEngine's base class.

Where these are not installed, plain PyTorch does: the network can then be used
by programs that know nothing of MMagic (see :mod:`srdensenet_mm.spandrel`).
"""
try:
    from mmagic.registry import MODELS
    from mmengine.model import BaseModule
except ModuleNotFoundError as _error:
    if (_error.name or '').partition('.')[0] not in ('mmagic', 'mmengine', 'mmcv'):
        raise
    from torch import nn

    class BaseModule(nn.Module):
        """MMEngine's, as far as the network needs it."""

        def __init__(self, init_cfg: dict | None = None):
            super().__init__()
            self.init_cfg = init_cfg

    class _Registry:
        """MMagic's, as far as the network needs it: classes by their names."""

        parent = None

        def __init__(self):
            self.module_dict = {}

        def register_module(self):
            def register(cls):
                self.module_dict[cls.__name__] = cls
                return cls
            return register

        def get(self, name: str):
            return self.module_dict.get(name)

        def import_from_location(self) -> None:
            """All that there is has been imported."""

    MODELS = _Registry()

__all__ = ['MODELS', 'BaseModule']
