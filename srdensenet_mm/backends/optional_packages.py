# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Packages that exporting and the backends need, and the rest does without."""
import importlib
from types import ModuleType

from srdensenet_mm.errors import UserError

# Package -> the extra of setup.py that brings it.
_EXTRAS = {'onnx': 'onnxruntime', 'onnxruntime': 'onnxruntime', 'openvino': 'openvino'}


def import_optional(name: str) -> ModuleType:
    """Import a package that is an optional extra.

    Args:
        name (str): ``'onnx'``, ``'onnxruntime'`` or ``'openvino'``.

    Raises:
        UserError: It is not installed, or does not load; the message has the
            command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        reason = 'is not installed' if missing else f'does not load ({error})'
        raise UserError(f'{name} {reason}: pip install "srdensenet_mm[{_EXTRAS[name]}]", '
                        f'or pip install onnx {_EXTRAS[name]}') from error
