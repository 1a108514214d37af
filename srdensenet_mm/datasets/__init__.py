# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Datasets and transforms of the recipes that MMagic lacks."""
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic, matlab_bicubic_upscale
from srdensenet_mm.images.reading import find_images, read_rgb

from .checked_pictures import CheckedPictures
from .hr_folder_dataset import HRFolderDataset
from .transforms import (
    MATLABBicubicDown,
    MixTarget,
    RandomPatchPair,
    RandomScalePatchPair,
    RoundToUint8,
)

__all__ = [
    'CheckedPictures', 'HRFolderDataset', 'MATLABBicubicDown', 'MixTarget', 'RandomPatchPair',
    'RandomScalePatchPair', 'RoundToUint8', 'find_images', 'matlab_bicubic',
    'matlab_bicubic_upscale', 'read_rgb'
]
