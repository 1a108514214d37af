# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Datasets and transforms that the recipes need and MMagic lacks."""
from .checked_pictures import CheckedPictures
from .hr_folder_dataset import HRFolderDataset
from .matlab_bicubic import matlab_bicubic, matlab_bicubic_upscale
from .picture_files import find_pictures, read_rgb
from .transforms import MATLABBicubicDown, RandomPatchPair

__all__ = [
    'CheckedPictures', 'HRFolderDataset', 'MATLABBicubicDown', 'RandomPatchPair', 'find_pictures',
    'matlab_bicubic', 'matlab_bicubic_upscale', 'read_rgb'
]
