# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscaling images with a trained network."""
from srdensenet_mm.models.self_ensemble import self_ensemble

from .receptive_field import receptive_field
from .upscaler import Upscaler

__all__ = ['Upscaler', 'receptive_field', 'self_ensemble']
