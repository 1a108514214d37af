# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The package's network and optimizer on a machine without MMEngine and MMagic.

Both ask MMEngine for a base class and MMagic for a registry, of which training
here uses nothing. Where these are not installed, the smallest things take
their place, and the package is entered without what it does at its import.
"""
import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def make_importable() -> None:
    """Make those modules of the package importable that only need torch and NumPy."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        importlib.import_module('mmengine')
        importlib.import_module('mmagic')
    except ImportError:
        _stand_in()


def _stand_in() -> None:
    from torch import nn

    class BaseModule(nn.Module):

        def __init__(self, init_cfg=None):
            super().__init__()
            self.init_cfg = init_cfg

    class Registry:

        def __init__(self):
            self.module_dict = {}

        def register_module(self, *args, **kwargs):
            return lambda cls: self.module_dict.setdefault(cls.__name__, cls)

        def get(self, name):
            return self.module_dict.get(name)

    registries = {name: Registry() for name in ('MODELS', 'OPTIMIZERS')}
    for name, attributes in (('mmengine', {}), ('mmengine.model', dict(BaseModule=BaseModule)),
                             ('mmagic', {}), ('mmagic.registry', registries)):
        module = sys.modules[name] = ModuleType(name)
        vars(module).update(attributes)
    # Their own imports would ask for more of MMEngine and MMagic.
    for name in ('srdensenet_mm', 'srdensenet_mm.engine'):
        module = sys.modules[name] = ModuleType(name)
        module.__path__ = [str(ROOT.joinpath(*name.split('.')))]
