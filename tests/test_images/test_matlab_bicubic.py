# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""MATLAB's bicubic against MATLAB's own images, and against the formula written plainly."""
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from srdensenet_mm.datasets import matlab_bicubic, matlab_bicubic_upscale
from srdensenet_mm.images.matlab_bicubic import resample

SET5 = Path(__file__).parents[1] / 'data' / 'Set5'
NAMES = ['baby', 'bird', 'butterfly', 'head', 'woman']
SIDES = st.tuples(st.integers(1, 24), st.integers(1, 24))
IMAGES = SIDES.flatmap(lambda sides: hnp.arrays(np.uint8, sides))


def cubic(x):
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    if x < 2:
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2
    return Fraction(0)


def resize_line(line, factor, length):
    """One line of pixels by the kernel's definition, in exact fractions."""
    size, widen = len(line), min(factor, Fraction(1))
    result = []
    for i in range(length):
        centre = (i + Fraction(1, 2)) / factor - Fraction(1, 2)
        receptive_field = 2 / widen
        total = weight_sum = Fraction(0)
        for k in range(ceil(centre - receptive_field), floor(centre + receptive_field) + 1):
            mirrored = k % (2 * size)
            mirrored = min(mirrored, 2 * size - 1 - mirrored)
            weight = cubic((centre - k) * widen)
            total += weight * int(line[mirrored])
            weight_sum += weight
        result.append(min(max(floor(total / weight_sum + Fraction(1, 2)), 0), 255))
    return result


def resize_slowly(image, factor):
    height, width = (ceil(side * factor) for side in image.shape)
    half = np.array([resize_line(column, factor, height) for column in image.T]).T
    return np.array([resize_line(row, factor, width) for row in half])


def read_cropped(name, multiple):
    image = cv2.imread(str(SET5 / 'HR' / f'{name}.png'))
    height, width = (side // multiple * multiple for side in image.shape[:2])
    return image[:height, :width]


@pytest.mark.parametrize('scale', [3, 4])
@pytest.mark.parametrize('name', NAMES)
def test_equals_matlab_in_every_pixel(name, scale):
    expected = cv2.imread(str(SET5 / 'LR_bicubic' / f'X{scale}' / f'{name}.png'))
    np.testing.assert_array_equal(matlab_bicubic(read_cropped(name, scale), scale), expected)


def test_bicubic_baseline_of_the_tables():
    """The field's 28.42 dB is of HR cropped to a multiple of 4."""

    def luma(bgr):
        return 16 + bgr.astype(float) @ np.array([24.966, 128.553, 65.481]) / 255

    def psnr(hr):
        bicubic = matlab_bicubic_upscale(matlab_bicubic(hr, 4), 4)
        error = (luma(bicubic) - luma(hr))[4:-4, 4:-4]
        return 10 * np.log10(255**2 / np.mean(error**2))

    assert np.mean([psnr(read_cropped(name, 4)) for name in NAMES]) == pytest.approx(
        28.42, abs=0.012)
    assert np.mean([psnr(read_cropped(name, 12)) for name in NAMES]) == pytest.approx(
        28.395, abs=0.005)


@given(IMAGES, st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_downscaling_is_the_formula(image, scale):
    np.testing.assert_array_equal(
        matlab_bicubic(image, scale), resize_slowly(image, Fraction(1, scale)))


@given(IMAGES, st.fractions(1, 6, max_denominator=12))
@settings(max_examples=60, deadline=None)
def test_downscaling_by_any_number_is_the_formula(image, scale):
    np.testing.assert_array_equal(
        matlab_bicubic(image, float(scale)), resize_slowly(image, 1 / scale))


def test_all_ways_to_downscale_are_one():
    image = np.random.default_rng(0).integers(0, 256, (30, 24, 3), np.uint8)
    centres = tuple((np.arange(side // 3) + 0.5) * 3 - 0.5 for side in image.shape[:2])
    np.testing.assert_array_equal(resample(image, centres, (3, 3)), matlab_bicubic(image, 3))


@given(SIDES.flatmap(lambda s: hnp.arrays(np.uint8, (s[0] // 4 + 1, s[1] // 4 + 1))),
       st.integers(2, 8))
@settings(max_examples=25, deadline=None)
def test_upscaling_is_the_formula(image, scale):
    np.testing.assert_array_equal(
        matlab_bicubic_upscale(image, scale), resize_slowly(image, Fraction(scale)))


@given(SIDES, st.integers(0, 255), st.integers(1, 13))
@settings(max_examples=60, deadline=None)
def test_a_constant_image_stays_constant(sides, value, scale):
    image = np.full(sides, value, np.uint8)
    for resized in (matlab_bicubic(image, scale), matlab_bicubic_upscale(image, scale)):
        assert (resized == value).all()


@given(st.integers(2, 5).flatmap(lambda s: st.tuples(
    st.just(s), st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
        lambda n: hnp.arrays(np.uint8, (n[0] * s, n[1] * s, 3))))))
@settings(max_examples=40, deadline=None)
def test_flips_and_channels_commute_with_downscaling(case):
    """Whole multiples of the scale only: others have no symmetric grid."""
    scale, image = case
    small = matlab_bicubic(image, scale)
    np.testing.assert_array_equal(matlab_bicubic(image[::-1], scale), small[::-1])
    np.testing.assert_array_equal(matlab_bicubic(image[:, ::-1], scale), small[:, ::-1])
    for channel in range(3):
        np.testing.assert_array_equal(
            matlab_bicubic(image[..., channel], scale), small[..., channel])


def test_a_wide_image():
    """Wider than the columns treated at once: no seam."""
    image = np.random.default_rng(0).integers(0, 256, (8, 40_000), np.uint8)
    wide = matlab_bicubic(image, 4)
    assert wide.shape == (2, 10_000)
    # Past both ends of the part, the kernel reaches 2 LR pixels.
    part = matlab_bicubic(image[:, 16_000:17_000], 4)
    np.testing.assert_array_equal(wide[:, 4_002:4_248], part[:, 2:-2])


def test_the_image_given_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    before = image.copy()
    matlab_bicubic(image, 1)[:] = 0
    matlab_bicubic(image, 4)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('scale', [0, -2, 0.5, float('inf'), float('nan'), None, '2', [2]])
def test_refuses_scales(scale):
    with pytest.raises(ValueError, match='scale'):
        matlab_bicubic(np.zeros((8, 8), np.uint8), scale)


@pytest.mark.parametrize('image', [
    np.zeros((8, 8), np.float32), np.zeros((8, 8), np.uint16), np.zeros(8, np.uint8),
    np.zeros((1, 8, 8, 3), np.uint8), [[0]]
])
def test_refuses_other_arrays(image):
    with pytest.raises(TypeError, match='uint8'):
        matlab_bicubic(image, 2)


def test_refuses_an_empty_image():
    with pytest.raises(ValueError, match='empty'):
        matlab_bicubic(np.zeros((0, 8, 3), np.uint8), 2)
