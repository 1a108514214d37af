# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The page of ``srdensenet-mm app``: drop an image, compare, download."""
from pathlib import Path

from .jobs import Jobs
from .server import make_server

__all__ = ['Jobs', 'make_server', 'published_checkpoints']


def published_checkpoints() -> list[Path]:
    """The weights in ``checkpoints/`` of a checkout, the largest scale first."""
    root = Path(__file__).resolve().parents[2]
    return sorted(root.glob('checkpoints/srdensenet_x*.pth'), reverse=True)
