# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Packages that only some parts need."""
import importlib
from types import ModuleType

from .errors import UserError

# Package -> the extra of setup.py that installs it, and the same packages by name.
_EXTRAS = {
    'flask': ('app', 'flask'),
    'onnx': ('onnxruntime', 'onnx onnxruntime'),
    'onnxruntime': ('onnxruntime', 'onnx onnxruntime'),
    'openvino': ('openvino', 'onnx openvino'),
    'spandrel': ('spandrel', 'spandrel'),
}


def import_optional(name: str) -> ModuleType:
    """Import a package that is an optional extra.

    Args:
        name (str): ``'flask'``, ``'onnx'``, ``'onnxruntime'``, ``'openvino'`` or ``'spandrel'``.

    Raises:
        UserError: It is not installed, or does not load. The message has the
            command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        reason = 'is not installed' if missing else f'does not load ({error})'
        extra, packages = _EXTRAS[name]
        raise UserError(f'{name} {reason}: pip install "srdensenet_mm[{extra}]", '
                        f'or pip install {packages}') from error
