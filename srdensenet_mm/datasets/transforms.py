# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Training pairs from high-resolution pictures alone."""
from typing import Dict

import numpy as np
from mmcv.transforms import BaseTransform

from mmagic.registry import TRANSFORMS

from .matlab_bicubic import matlab_bicubic

# MATLAB's kernel reaches 2 LR pixels to each side of an LR pixel; one more for rounding.
_MARGIN = 3


@TRANSFORMS.register_module()
class RandomPatchPair(BaseTransform):
    """Cut a random patch out of a picture and make its LR by MATLAB's bicubic.

    The patch is cut with a margin, downscaled, and the margin cut off, so that
    the LR is what a crop of the whole downscaled picture would be: a patch
    downscaled alone would differ along its edges. Every offset is possible,
    not only multiples of ``scale``.

    Required key: ``gt``, uint8, shape (H, W, C). Modified key: ``gt``, shape
    (``gt_patch_size``, ``gt_patch_size``, C). Added keys: ``img``, uint8, shape
    (``gt_patch_size // scale``, ``gt_patch_size // scale``, C); ``scale``.

    Args:
        scale (int): The upscaling factor. Defaults to 4.
        gt_patch_size (int): Side of the HR patch, in pixels, rounded down to a
            multiple of ``scale``. Defaults to 100, the paper's (section 4.1).

    Raises:
        ValueError: ``gt_patch_size`` is less than ``scale``; or, when run, the
            picture is smaller than the patch.
    """

    def __init__(self, scale: int = 4, gt_patch_size: int = 100):
        if scale < 1 or gt_patch_size < scale:
            raise ValueError(f'gt_patch_size={gt_patch_size} must be at least scale={scale} and '
                             'scale at least 1')
        self.scale = scale
        self.gt_patch_size = gt_patch_size // scale * scale

    def transform(self, results: Dict) -> Dict:
        """Replace ``gt`` by a patch of it and add ``img``."""
        picture, size = results['gt'], self.gt_patch_size
        height, width = picture.shape[:2]
        if min(height, width) < size:
            raise ValueError(f"{results.get('gt_path', 'picture')}: {width}x{height} is smaller "
                             f'than the patch, {size}x{size}')
        top = np.random.randint(height - size + 1)
        left = np.random.randint(width - size + 1)
        rows, row_margin = self._with_margin(top, height)
        columns, column_margin = self._with_margin(left, width)
        small = matlab_bicubic(picture[rows, columns], self.scale)
        side = size // self.scale
        results['img'] = np.ascontiguousarray(
            small[row_margin:row_margin + side, column_margin:column_margin + side])
        results['gt'] = np.ascontiguousarray(picture[top:top + size, left:left + size])
        results['scale'] = self.scale
        return results

    def _with_margin(self, start: int, length: int):
        """The patch's slice with its margin, and that margin in LR pixels."""
        before = min(_MARGIN, start // self.scale)
        stop = start + self.gt_patch_size
        after = min(_MARGIN, (length - stop) // self.scale)
        return slice(start - before * self.scale, stop + after * self.scale), before

    def __repr__(self) -> str:
        return f'RandomPatchPair(scale={self.scale}, gt_patch_size={self.gt_patch_size})'
