# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""MATLAB's bicubic ``imresize`` of 8-bit images, equal in every pixel.

The field's low-resolution images are made by ``imresize(im, 1/s, 'bicubic')``.
It has a cubic kernel with a = -0.5, widened by s against aliasing, and a
symmetric border. It rounds to 8 bits after each of the two passes, height
first, then width. Most re-implementations miss this rounding.

For an integer s, all kernel weights are fractions with a common denominator. So
both passes compute with integers. They are stored as floats, for BLAS, and are
small enough to be exact there. So a sum half-way between two levels is exact
too: half rounds up.
"""
import math
from functools import cache
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

# LR pixels: the downscaling kernel extends less than this beyond the edge of an LR pixel.
MARGIN = 2
# Columns computed at once, so that the working set fits the cache and memory stays small.
_COLUMNS = 4096


class _Kernel(NamedTuple):
    """Output row ``step_out * i + p`` reads rows ``step_in * i + first + k``."""

    weights: np.ndarray  # (phases p, taps k), whole numbers, float32 or float64
    denominator: int
    first: int
    step_in: int


def _cubic(distance: int, unit: int) -> int:
    """The cubic kernel at ``distance / unit``, in units of ``1 / (2 * unit**3)``."""
    d = abs(distance)
    if d <= unit:
        return 3 * d**3 - 5 * d**2 * unit + 2 * unit**3
    if d < 2 * unit:
        return -d**3 + 5 * d**2 * unit - 8 * d * unit**2 + 4 * unit**3
    return 0


def _make_kernel(weights: np.ndarray, denominator: int, first: int, step_in: int) -> _Kernel:
    divisor = int(np.gcd.reduce(weights, axis=None))
    weights, denominator = weights // divisor, denominator // divisor
    # Every partial sum, the rounding term included, must be a whole number that the
    # type holds exactly.
    largest = 255 * int(np.abs(weights).sum(axis=1).max()) + denominator
    dtype = np.float32 if 2 * largest < 2**24 else np.float64
    return _Kernel(weights.astype(dtype), denominator, first, step_in)


@cache
def downscale_kernel(scale: int) -> _Kernel:
    # Output i is centred at input (i + 1/2) * scale - 1/2. In half pixels its distance
    # from input i * scale + k is 2 * k + 1 - scale, and the kernel reaches 4 * scale.
    taps = [k for k in range(-2 * scale, 3 * scale) if abs(2 * k + 1 - scale) < 4 * scale]
    weights = [[_cubic(2 * k + 1 - scale, 2 * scale) for k in taps]]
    return _make_kernel(np.array(weights), 16 * scale**4, taps[0], scale)


@cache
def _upscale_kernel(scale: int) -> _Kernel:
    # Output scale * i + p is centred at input i + (p + 1/2) / scale - 1/2.
    weights = [[_cubic(2 * k * scale - (2 * p + 1 - scale), 2 * scale) for k in range(-2, 3)]
               for p in range(scale)]
    return _make_kernel(np.array(weights), 16 * scale**3, -2, 1)


def _resize_rows(rows: np.ndarray, kernel: _Kernel) -> np.ndarray:
    """One pass, (H, M) uint8 -> (ceil(H / step_in) * phases, M) uint8."""
    height, width = rows.shape
    phases, taps = kernel.weights.shape
    steps = -(-height // kernel.step_in)
    below = max((steps - 1) * kernel.step_in + kernel.first + taps - height, 0)
    # Symmetric: the border pixel is repeated; an image smaller than the kernel is
    # mirrored as often as it takes.
    index = np.pad(np.arange(height), (-kernel.first, below), mode='symmetric')
    out = np.empty((steps, phases, width), np.uint8)
    for left in range(0, width, _COLUMNS):
        block = rows[index, left:left + _COLUMNS].astype(kernel.weights.dtype)
        row, item = block.strides
        windows = as_strided(
            block, (steps, taps, block.shape[1]), (kernel.step_in * row, row, item),
            writeable=False)
        total = kernel.weights @ windows
        total += kernel.denominator / 2
        total /= kernel.denominator
        np.clip(total, 0, 255, out=total)
        # Truncation is the floor: nothing is negative any more.
        out[:, :, left:left + _COLUMNS] = total
    return out.reshape(steps * phases, width)


def _resize(image: np.ndarray, kernel: _Kernel) -> np.ndarray:
    planes = image.reshape(*image.shape[:2], -1)
    height, width, channels = planes.shape
    half = _resize_rows(planes.reshape(height, -1), kernel).reshape(-1, width, channels)
    turned = half.transpose(1, 0, 2).reshape(width, -1)
    full = _resize_rows(turned, kernel).reshape(-1, half.shape[0], channels).transpose(1, 0, 2)
    return np.ascontiguousarray(full).reshape(*full.shape[:2], *image.shape[2:])


def resample_rows(rows: np.ndarray, centres: np.ndarray, scale: float) -> np.ndarray:
    """One pass of MATLAB's bicubic downscaling, at any places.

    Args:
        rows (np.ndarray): uint8, shape (H, M).
        centres (np.ndarray): Where the results lie, in rows, float64. 0 is the
            centre of the first one. Beyond the first and the last row, the
            image is mirrored.
        scale (float): How many times smaller the result is, at least 1.

    Returns:
        np.ndarray: uint8, shape (len(centres), M).
    """
    height, width = rows.shape
    nearest = np.floor(centres).astype(np.int64)
    taps = nearest[:, None] + np.arange(-math.ceil(2 * scale), math.ceil(2 * scale) + 2)
    distance = np.abs(centres[:, None] - taps) / scale
    weights = np.where(
        distance <= 1, (1.5 * distance - 2.5) * distance**2 + 1,
        np.where(distance < 2, ((2.5 - 0.5 * distance) * distance - 4) * distance + 2, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    taps %= 2 * height
    taps = np.minimum(taps, 2 * height - 1 - taps)
    out = np.empty((len(centres), width), np.uint8)
    for left in range(0, width, _COLUMNS):
        block = rows[:, left:left + _COLUMNS].astype(np.float64)
        total = np.zeros((len(centres), block.shape[1]))
        for k in range(taps.shape[1]):
            total += weights[:, k, None] * block[taps[:, k]]
        # Halves that are no halves only by rounding errors of the sums count as halves.
        out[:, left:left + _COLUMNS] = np.clip(np.floor(total + (0.5 + 1e-9)), 0, 255)
    return out


def resample(image: np.ndarray, centres: tuple[np.ndarray, np.ndarray],
             scales: tuple[float, float]) -> np.ndarray:
    """MATLAB's bicubic downscaling at any places, height first, then width.

    Args:
        image (np.ndarray): uint8, shape (H, W) or (H, W, C).
        centres (Tuple[np.ndarray, np.ndarray]): Rows and columns of the
            results, see :func:`resample_rows`.
        scales (Tuple[float, float]): How many times smaller the result is.

    Returns:
        np.ndarray: uint8, shape (len(rows), len(columns)[, C]).
    """
    planes = image.reshape(*image.shape[:2], -1)
    for places, scale in zip(centres, scales, strict=True):
        # Both passes turn the image.
        height, width, channels = planes.shape
        planes = resample_rows(planes.reshape(height, -1), places, scale)
        planes = planes.reshape(-1, width, channels).transpose(1, 0, 2)
    return np.ascontiguousarray(planes).reshape(*planes.shape[:2], *image.shape[2:])


def _check(image: np.ndarray, scale: int) -> int:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3):
        found = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image)
        raise TypeError(f'expected a uint8 array (H, W) or (H, W, C), got {found}')
    if not isinstance(scale, Real) or not 1 <= scale < math.inf:
        raise ValueError(f'scale must be a number of at least 1, got {scale!r}')
    if not image.size:
        raise ValueError(f'an empty image, shape {image.shape}, cannot be resized')
    return scale if scale % 1 else int(scale)


def matlab_bicubic(image: np.ndarray, scale: float) -> np.ndarray:
    """Downscale as MATLAB's ``imresize(image, 1 / scale, 'bicubic')`` does.

    Args:
        image (np.ndarray): uint8, shape (H, W) or (H, W, C), 0..255. Channels
            are independent, so their order does not matter. The field crops H
            and W to a multiple of ``scale`` first; other sizes work too.
        scale (float): How many times smaller the result is, at least 1.

    Returns:
        np.ndarray: uint8, shape (ceil(H / scale), ceil(W / scale)[, C]).

    Raises:
        TypeError: ``image`` is no uint8 array of 2 or 3 dimensions.
        ValueError: ``scale`` is no number of at least 1, or the image is
            empty.
    """
    scale = _check(image, scale)
    if isinstance(scale, int):
        return image.copy() if scale == 1 else _resize(image, downscale_kernel(scale))
    # A quotient that is a whole number may be a little more after rounding.
    centres = [(np.arange(math.ceil(side / scale - 1e-9)) + 0.5) * scale - 0.5
               for side in image.shape[:2]]
    return resample(image, tuple(centres), (scale, scale))


def matlab_bicubic_upscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Upscale as MATLAB's ``imresize(image, scale, 'bicubic')`` does.

    This is the "bicubic" of the field's tables.

    Args:
        image (np.ndarray): uint8, shape (H, W) or (H, W, C), 0..255.
        scale (int): How many times larger the result is, a whole number.

    Returns:
        np.ndarray: uint8, shape (scale * H, scale * W[, C]).

    Raises:
        TypeError: ``image`` is no uint8 array of 2 or 3 dimensions.
        ValueError: ``scale`` is no whole number of at least 1, or the image
            is empty.
    """
    scale = _check(image, scale)
    if not isinstance(scale, int):
        raise ValueError(f'scale must be a whole number, got {scale!r}')
    return image.copy() if scale == 1 else _resize(image, _upscale_kernel(scale))
