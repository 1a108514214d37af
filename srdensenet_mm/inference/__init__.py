# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscaling pictures with a trained network."""
from srdensenet_mm.models.self_ensemble import self_ensemble

from .reach import reach
from .upscaler import Upscaler

__all__ = ['Upscaler', 'reach', 'self_ensemble']
