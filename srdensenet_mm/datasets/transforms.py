# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Low-resolution images made on the fly, and targets mixed with teachers' images."""
import math
from collections.abc import Sequence

import numpy as np
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from srdensenet_mm.images.matlab_bicubic import MARGIN, matlab_bicubic, resample


@TRANSFORMS.register_module()
class MATLABBicubicDown(BaseTransform):
    """Make ``img`` from the whole ``gt`` by MATLAB's bicubic, equal in every pixel.

    Required keys: ``gt``, uint8, shape (H, W, C). ``scale`` where the argument
    is left out (MMagic's ``SetValues`` sets it). Modified key: ``gt``, cropped
    at the bottom and the right to a multiple of ``multiple_of``. Added keys:
    ``img``, uint8, shape (H // scale, W // scale, C) of the cropped image;
    ``scale``; ``img_path``, ``img_channel_order``, ``img_color_type``, as for
    ``gt``.

    Args:
        scale (int, optional): The upscale factor. Defaults to
            ``results['scale']``.
        multiple_of (int, optional): The sides of ``gt`` are cropped to a
            multiple of this, which is itself a multiple of the scale. The
            field's protocol has 12. Defaults to the scale.

    Raises:
        ValueError: ``multiple_of`` is no multiple of the scale.
    """

    def __init__(self, scale: int | None = None, multiple_of: int | None = None):
        if scale and multiple_of and multiple_of % scale:
            raise ValueError(f'multiple_of={multiple_of} must be a multiple of scale={scale}')
        self.scale = scale
        self.multiple_of = multiple_of

    def transform(self, results: dict) -> dict:
        """Crop ``gt`` and add ``img``."""
        scale = self.scale or results['scale']
        multiple = self.multiple_of or scale
        height, width = (side // multiple * multiple for side in results['gt'].shape[:2])
        results['gt'] = np.ascontiguousarray(results['gt'][:height, :width])
        results['img'] = matlab_bicubic(results['gt'], scale)
        _describe_img(results, scale)
        return results

    def __repr__(self) -> str:
        return f'MATLABBicubicDown(scale={self.scale}, multiple_of={self.multiple_of})'


@TRANSFORMS.register_module()
class RandomPatchPair(BaseTransform):
    """Cut a random patch out of an image and make its LR by MATLAB's bicubic.

    The patch is downscaled together with the pixels around it that the kernel
    reads. So its LR is a crop of the whole image's LR. (A patch downscaled
    alone would differ along its edges.) Every offset is possible, not only
    multiples of ``scale``. That makes ``scale ** 2`` times as many patches. At
    other offsets, the LR is a crop of the shifted image's LR.

    Required key: ``gt``, uint8, shape (H, W, C). Modified key: ``gt``, shape
    (``gt_patch_size``, ``gt_patch_size``, C), a copy. Added keys: ``img``,
    uint8, shape (``gt_patch_size // scale``, ``gt_patch_size // scale``, C);
    ``scale``; ``img_path``, ``img_channel_order``, ``img_color_type``, as for
    ``gt``. The two random numbers come from numpy's global generator, as in
    MMagic's transforms. So MMEngine's seeding covers them.

    Where ``HRFolderDataset`` gives teachers' images, ``gt`` becomes the mix of
    HR and these, float32. The offsets are then multiples of ``scale``, because
    the teachers have seen the LR at these alone.

    Args:
        scale (int): The upscale factor. Defaults to 4.
        gt_patch_size (int): Side of the HR patch, in pixels, rounded down to a
            multiple of ``scale`` (100 becomes 99 at scale 3, 96 at scale 8).
            Defaults to 100, as in the paper (section 4.1).

    Raises:
        ValueError: ``gt_patch_size`` is less than ``scale``. When run: the
            image is smaller than the patch.
    """

    def __init__(self, scale: int = 4, gt_patch_size: int = 100):
        if scale < 1 or gt_patch_size < scale:
            raise ValueError(f'gt_patch_size={gt_patch_size} must be at least scale={scale} and '
                             'scale at least 1')
        self.scale = scale
        self.gt_patch_size = gt_patch_size // scale * scale

    def transform(self, results: dict) -> dict:
        """Replace ``gt`` by a patch of it and add ``img``."""
        image, size, scale = results['gt'], self.gt_patch_size, self.scale
        teachers, step = results.pop('teachers', ()), 1
        if teachers:
            step = scale
            image = image[:image.shape[0] // scale * scale, :image.shape[1] // scale * scale]
        height, width = image.shape[:2]
        if min(height, width) < size:
            raise ValueError(f'{_name(results)}: {width}x{height} is smaller than the patch, '
                             f'{size}x{size}')
        top = np.random.randint((height - size) // step + 1) * step
        left = np.random.randint((width - size) // step + 1) * step
        around = self._with_margin(self._with_margin(image, top, axis=0), left, axis=1)
        small = matlab_bicubic(around, scale)
        results['img'] = np.ascontiguousarray(small[MARGIN:-MARGIN, MARGIN:-MARGIN])
        # A copy even where the patch is the whole image: MMagic's Flip works in place, and the
        # dataset may keep the image.
        window = slice(top, top + size), slice(left, left + size)
        results['gt'] = image[window].copy()
        if teachers:
            results['gt'] = mix_target(
                results['gt'], [(share, taught[window]) for share, taught in teachers])
        _describe_img(results, scale)
        return results

    def _with_margin(self, image: np.ndarray, start: int, axis: int) -> np.ndarray:
        """The patch's rows or columns and those around, mirrored at the image's border."""
        length = image.shape[axis]
        margin = MARGIN * self.scale
        first, stop = start - margin, start + self.gt_patch_size + margin
        if first >= 0 and stop <= length:
            window = slice(first, stop)
            return image[window] if axis == 0 else image[:, window]
        index = np.arange(first, stop) % (2 * length)
        return image.take(np.minimum(index, 2 * length - 1 - index), axis=axis)

    def __repr__(self) -> str:
        return f'RandomPatchPair(scale={self.scale}, gt_patch_size={self.gt_patch_size})'


@TRANSFORMS.register_module()
class RandomScalePatchPair(BaseTransform):
    """Cut a random patch out of an image and make its LR, at a random scale.

    For networks that upscale by any factor, in the place of MMagic's
    ``RandomDownSampling``. LR is MATLAB's bicubic, and it is made of the patch
    together with the pixels around it, as in :class:`RandomPatchPair`.

    Required key: ``gt``, uint8, shape (H, W, C). Modified key: ``gt``, shape
    (P, P, C), a copy, where P is ``round(lr_patch_size * scale)``. Added keys:
    ``img``, uint8, shape (``lr_patch_size``, ``lr_patch_size``, C); ``scale``,
    the factor between the two; ``img_path``, ``img_channel_order``,
    ``img_color_type``, as for ``gt``. ``GenerateCoordinateAndCell`` then samples
    points of ``gt``, because patches of several sizes cannot form a batch.

    Args:
        scale_min (float): The smallest scale. Defaults to 1.
        scale_max (float): The largest scale. All between the two are equally
            likely. Defaults to 4.
        lr_patch_size (int): Side of the LR patch, in pixels. Defaults to 48, as
            in MMagic's recipes.

    Raises:
        ValueError: The arguments are out of range. When run: the image is
            smaller than the patch.
    """

    def __init__(self, scale_min: float = 1, scale_max: float = 4, lr_patch_size: int = 48):
        if not 1 <= scale_min <= scale_max or lr_patch_size < 1:
            raise ValueError(f'scale_min={scale_min} must be at least 1 and at most '
                             f'scale_max={scale_max}, lr_patch_size={lr_patch_size} at least 1')
        self.scale_min = scale_min
        self.scale_max = scale_max
        self.lr_patch_size = lr_patch_size
        # Of the largest HR patch, as HRFolderDataset reads it.
        self.gt_patch_size = round(lr_patch_size * scale_max)

    def transform(self, results: dict) -> dict:
        """Replace ``gt`` by a patch of it and add ``img``."""
        image, low = results['gt'], self.lr_patch_size
        size = round(low * np.random.uniform(self.scale_min, self.scale_max))
        height, width = image.shape[:2]
        if min(height, width) < size:
            raise ValueError(f'{_name(results)}: {width}x{height} is smaller than the patch, '
                             f'{size}x{size}')
        top, left = (np.random.randint(side - size + 1) for side in (height, width))
        scale = size / low
        # The pixels that the kernel reads, so that the image is not converted as a whole.
        margin = math.ceil(2 * scale) + 2
        rows, cols = (slice(max(0, start - margin), start + size + margin)
                      for start in (top, left))
        centres = (np.arange(low) + 0.5) * scale - 0.5
        results['img'] = resample(
            image[rows, cols], (centres + (top - rows.start), centres + (left - cols.start)),
            (scale, scale))
        results['gt'] = image[top:top + size, left:left + size].copy()
        _describe_img(results, scale)
        return results

    def __repr__(self) -> str:
        return (f'RandomScalePatchPair(scale_min={self.scale_min}, scale_max={self.scale_max}, '
                f'lr_patch_size={self.lr_patch_size})')


@TRANSFORMS.register_module()
class MixTarget(BaseTransform):
    """Mix teachers' images into ``gt``, for the pairs of MMagic's datasets.

    Use it with a ``BasicImageDataset`` whose ``data_prefix`` names a third
    folder: a better network's outputs for the LR folder, made by
    ``tools/infer.py``. Place it directly behind the steps that load the images.
    Later steps then crop and flip the mix alone, so its parts stay aligned.

    Required keys: ``gt``, uint8, shape (H, W, C), and the keys of ``shares``,
    of the same type and shape. Modified key: ``gt``, float32, 0..255. The other
    keys are removed.

    Args:
        shares (Dict[str, float]): Key -> its part of the target, above 0,
            together at most 1. HR has the rest.

    Raises:
        ValueError: The shares are out of range.
    """

    def __init__(self, shares: dict[str, float]):
        check_shares(shares.values())
        self.shares = dict(shares)

    def transform(self, results: dict) -> dict:
        """Replace ``gt`` by the mix."""
        teachers = [(share, results.pop(key)) for key, share in self.shares.items()]
        results['gt'] = mix_target(results['gt'], teachers)
        return results

    def __repr__(self) -> str:
        return f'MixTarget(shares={self.shares})'


@TRANSFORMS.register_module()
class RoundToUint8(BaseTransform):
    """Round images to whole levels, clipped to 0..255, as an image file holds them.

    MMagic's ``RandomNoise`` makes floating-point images. Its
    ``RandomJPEGCompression`` is for uint8.

    Modified keys: those of ``keys``, of any shape and number type, 0..255.
    They become uint8.

    Args:
        keys (Sequence[str]): The keys of the images.
    """

    def __init__(self, keys: Sequence[str]):
        self.keys = tuple(keys)

    def transform(self, results: dict) -> dict:
        """Round the images."""
        for key in self.keys:
            if results[key].dtype != np.uint8:
                results[key] = results[key].round().clip(0, 255).astype(np.uint8)
        return results

    def __repr__(self) -> str:
        return f'RoundToUint8(keys={self.keys})'


def check_shares(shares: Sequence[float]) -> None:
    """Check teachers' shares of a target.

    Raises:
        ValueError: One is not above 0, or they are more than 1 together.
    """
    shares = list(shares)
    if not shares or not all(share > 0 for share in shares) or sum(shares) > 1 + 1e-6:
        raise ValueError(f"teachers' shares {shares} must be above 0 and together at most 1")


def mix_target(gt: np.ndarray, teachers: Sequence[tuple[float, np.ndarray]]) -> np.ndarray:
    """The mix of HR and teachers' images by their shares, float32. HR has the rest up to 1."""
    mix = np.float32(1 - sum(share for share, _ in teachers)) * gt
    for share, taught in teachers:
        mix += np.float32(share) * taught
    return mix


def _name(results: dict) -> str:
    return str(results.get('gt_path', 'the image'))


def _describe_img(results: dict, scale: float) -> None:
    results['scale'] = scale
    for key in ('path', 'channel_order', 'color_type'):
        if f'gt_{key}' in results:
            results[f'img_{key}'] = results[f'gt_{key}']
