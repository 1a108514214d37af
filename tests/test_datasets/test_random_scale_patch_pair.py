# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Pairs at random scales: their LR is a crop of the whole image's."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srdensenet_mm.datasets import RandomScalePatchPair, matlab_bicubic


def pair(height, width, seed=0, **arguments):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    before = image.copy()
    np.random.seed(seed)
    results = RandomScalePatchPair(**arguments)(dict(gt=image, gt_path='a.png'))
    assert np.array_equal(image, before) and not np.shares_memory(results['gt'], image)
    windows = np.lib.stride_tricks.sliding_window_view(image, results['gt'].shape)[:, :, 0]
    (top, left), = np.argwhere((windows == results['gt']).all(axis=(2, 3, 4)))
    return image, results, top, left


@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_lr_is_a_crop_of_the_whole_images(seed, more_rows, more_columns):
    image, results, top, left = pair(
        24 + more_rows, 24 + more_columns, seed, scale_min=1, scale_max=4, lr_patch_size=6)
    size = len(results['gt'])
    assert 6 <= size <= 24 and results['img'].shape == (6, 6, 3)
    assert results['scale'] == size / 6 and results['img_path'] == 'a.png'
    # Mirrored well beyond its border first, so that shifting the grid cuts nothing off.
    border = 4 * size
    mirrored = np.pad(image, [(border, border)] * 2 + [(0, 0)], mode='symmetric')
    whole = matlab_bicubic(np.ascontiguousarray(mirrored[top:, left:]), size / 6)
    np.testing.assert_array_equal(results['img'], whole[24:30, 24:30])


def test_scales_are_between_the_two():
    sizes = [len(pair(80, 70, seed, scale_min=1.5, scale_max=3, lr_patch_size=20)[1]['gt'])
             for seed in range(50)]
    assert 30 <= min(sizes) < 34 and 56 < max(sizes) <= 60
    assert len(set(sizes)) > 15


def test_the_largest_patch_must_fit():
    transform = RandomScalePatchPair(scale_min=4, scale_max=4, lr_patch_size=8)
    assert transform.gt_patch_size == 32
    with pytest.raises(ValueError, match='a.png: 40x31 is smaller than the patch, 32x32'):
        transform(dict(gt=np.zeros((31, 40, 3), np.uint8), gt_path='a.png'))


@pytest.mark.parametrize('arguments', [
    dict(scale_min=0.5), dict(scale_min=3, scale_max=2), dict(lr_patch_size=0)])
def test_arguments_out_of_range(arguments):
    with pytest.raises(ValueError, match='scale_min'):
        RandomScalePatchPair(**arguments)
