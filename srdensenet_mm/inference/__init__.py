# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscaling pictures with a trained network."""
from .reach import reach
from .self_ensemble import self_ensemble
from .upscaler import Upscaler

__all__ = ['Upscaler', 'reach', 'self_ensemble']
