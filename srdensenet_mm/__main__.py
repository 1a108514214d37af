# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""``python -m srdensenet_mm``: see :mod:`srdensenet_mm.cli`."""
from .cli import entry

if __name__ == '__main__':
    entry()
