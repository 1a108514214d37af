# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The page of ``srdensenet-mm app``: drop an image, compare, download."""
from .jobs import Jobs
from .server import make_server

__all__ = ['Jobs', 'make_server']
