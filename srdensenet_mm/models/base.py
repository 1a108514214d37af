# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""MMagic's registry and MMEngine's base class, or substitutes where these are not installed.

With the substitutes, programs without MMagic can use the network (see
:mod:`srdensenet_mm.spandrel`).
"""
try:
    from mmagic.registry import MODELS
    from mmengine.model import BaseModule
except ModuleNotFoundError as _error:
    if (_error.name or '').partition('.')[0] not in ('mmagic', 'mmengine', 'mmcv'):
        raise
    from torch import nn

    class BaseModule(nn.Module):
        """Stands in for MMEngine's class, as far as the network needs it."""

        def __init__(self, init_cfg: dict | None = None):
            super().__init__()
            self.init_cfg = init_cfg

    class _Registry:
        """Stands in for MMagic's registry: classes by their names."""

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
            """Do nothing: all registered classes are imported already."""

    MODELS = _Registry()

__all__ = ['MODELS', 'BaseModule']
