# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Pairs of patches stay registered, whatever is done to them."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmagic.datasets.transforms import Flip, RandomTransposeHW

from srdensenet_mm.datasets import MATLABBicubicDown, RandomPatchPair, matlab_bicubic

SEEDS = st.integers(0, 2**32 - 1)


def make_image(seed, height, width):
    # Unique enough that a patch is found again by its content.
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def find_patch(patch, image):
    windows = np.lib.stride_tricks.sliding_window_view(image, patch.shape)[:, :, 0]
    hits = np.argwhere((windows == patch).all(axis=(2, 3, 4)))
    assert len(hits) == 1
    return hits[0]


@given(SEEDS, st.sampled_from([2, 3, 4, 8]), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_lr_is_a_crop_of_the_whole_images_lr(seed, scale, more_rows, more_columns):
    size = 2 * scale
    image = make_image(seed, size + more_rows * scale, size + more_columns * scale)
    np.random.seed(seed)
    results = RandomPatchPair(scale, size)(dict(gt=image))
    top, left = find_patch(results['gt'], image)
    # The whole image's LR, on the grid that the patch lies on. Mirrored well beyond its
    # border first, so that shifting the grid cuts nothing off.
    border = 4 * scale
    mirrored = np.pad(image, [(border, border)] * 2 + [(0, 0)], mode='symmetric')
    whole = matlab_bicubic(mirrored[top % scale:, left % scale:], scale)
    i, j = 4 + top // scale, 4 + left // scale
    np.testing.assert_array_equal(results['img'], whole[i:i + 2, j:j + 2])


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_aligned_patches_everywhere(scale, monkeypatch):
    """Every aligned position, corners and borders included: equal in every pixel."""
    image = make_image(0, 9 * scale, 7 * scale)
    whole = matlab_bicubic(image, scale)
    transform = RandomPatchPair(scale, 3 * scale)
    for i in range(7):
        for j in range(5):
            offsets = iter((i * scale, j * scale))
            monkeypatch.setattr(np.random, 'randint', lambda *_, o=offsets: next(o))
            results = transform(dict(gt=image))
            np.testing.assert_array_equal(results['img'], whole[i:i + 3, j:j + 3])
            np.testing.assert_array_equal(
                results['gt'],
                image[i * scale:(i + 3) * scale, j * scale:(j + 3) * scale])


@given(SEEDS, st.sampled_from([2, 3, 4]))
@settings(max_examples=60, deadline=None)
def test_flips_and_transposes_keep_pairs_registered(seed, scale):
    """With a constant frame as wide as the kernel's reach, LR is a function of the patch alone.

    Flips commute with downscaling exactly. A transpose swaps the two passes,
    each of which rounds: by at most half a level, the first one's widened by
    the second's weights (their absolute sum is below 1.3), so that two orders
    are at most 2 levels apart where nothing is cut at 0 or 255.
    """
    core = make_image(seed, 2 * scale, 2 * scale) // 4 + 96
    image = np.full((10 * scale, 10 * scale, 3), 128, np.uint8)
    image[4 * scale:6 * scale, 4 * scale:6 * scale] = core
    results = RandomPatchPair(scale, 10 * scale)(dict(gt=image))
    np.random.seed(seed % 2**31)
    keys = ['img', 'gt']
    steps = (Flip(keys, 0.5, 'horizontal'), Flip(keys, 0.5, 'vertical'),
             RandomTransposeHW(keys, 0.5))
    for step in steps:
        results = step(results)
    again = matlab_bicubic(np.ascontiguousarray(results['gt']), scale).astype(int)
    difference = np.abs(again - results['img'])
    assert difference.max() <= (2 if results['transpose'] else 0)


@given(SEEDS, st.sampled_from([2, 3, 4, 8]), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_augmented_patches_of_any_image_stay_registered(seed, scale, more_rows, more_columns):
    """Away from the patch's edges, LR is the downscaled GT; on noise, a shift would not pass."""
    size = 8 * scale
    image = make_image(seed, size + more_rows, size + more_columns) // 4 + 96
    np.random.seed(seed)
    keys = ['img', 'gt']
    results = RandomPatchPair(scale, size)(dict(gt=image))
    for step in (Flip(keys, 0.5, 'horizontal'), Flip(keys, 0.5, 'vertical'),
                 RandomTransposeHW(keys, 0.5)):
        results = step(results)
    assert results['gt'].shape == (size, size, 3) and results['img'].shape == (8, 8, 3)
    again = matlab_bicubic(np.ascontiguousarray(results['gt']), scale).astype(int)
    difference = np.abs(again - results['img'])[2:-2, 2:-2]
    assert difference.max() <= (2 if results['transpose'] else 0)


def test_the_cached_image_is_never_written_to():
    image = make_image(1, 32, 32)
    image.flags.writeable = False
    before = image.copy()
    results = RandomPatchPair(4, 32)(dict(gt=image))
    Flip(['img', 'gt'], 1, 'horizontal')(results)
    np.testing.assert_array_equal(image, before)


def test_all_offsets_occur():
    image = make_image(2, 20, 20)
    np.random.seed(0)
    transform = RandomPatchPair(4, 16)
    seen = {tuple(find_patch(transform(dict(gt=image))['gt'], image)) for _ in range(300)}
    assert seen == {(i, j) for i in range(5) for j in range(5)}


@pytest.mark.parametrize('scale, rounded', [(2, 100), (3, 99), (4, 100), (8, 96)])
def test_patch_size_is_rounded_down(scale, rounded):
    results = RandomPatchPair(scale, 100)(dict(gt=make_image(0, 120, 120), gt_path='a.png'))
    assert results['gt'].shape == (rounded, rounded, 3)
    assert results['img'].shape == (rounded // scale, rounded // scale, 3)
    assert results['scale'] == scale and results['img_path'] == 'a.png'


def test_refusals():
    with pytest.raises(ValueError, match='gt_patch_size=3'):
        RandomPatchPair(4, 3)
    with pytest.raises(ValueError, match=r'small\.png: 50x40 is smaller'):
        RandomPatchPair(4, 48)(dict(gt=make_image(0, 40, 50), gt_path='small.png'))


def test_whole_images():
    image = make_image(3, 50, 61)
    results = MATLABBicubicDown(multiple_of=12)(dict(gt=image, scale=4))
    np.testing.assert_array_equal(results['gt'], image[:48, :60])
    np.testing.assert_array_equal(results['img'], matlab_bicubic(image[:48, :60], 4))
    results = MATLABBicubicDown(scale=3)(dict(gt=image))
    assert results['gt'].shape == (48, 60, 3) and results['img'].shape == (16, 20, 3)
    with pytest.raises(ValueError, match='multiple_of=12'):
        MATLABBicubicDown(scale=8, multiple_of=12)
    with pytest.raises(ValueError, match='an empty image, shape .0, 60, 3., cannot be resized'):
        MATLABBicubicDown(4, 12)(dict(gt=image[:11], gt_path='x'))
