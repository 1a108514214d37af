# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Datasets and transforms that the recipes need and MMagic lacks."""
from .hr_folder_dataset import HRFolderDataset
from .matlab_bicubic import matlab_bicubic, matlab_bicubic_upscale
from .transforms import RandomPatchPair

__all__ = ['HRFolderDataset', 'RandomPatchPair', 'matlab_bicubic', 'matlab_bicubic_upscale']
