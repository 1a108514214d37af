# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The colour conversion for any 8-bit image."""
import mmcv
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from srdensenet_mm.models.colour import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb

IMAGES = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda sides: hnp.arrays(np.uint8, (*sides, 3)))


def to_batch(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float()


@given(IMAGES)
@settings(max_examples=80, deadline=None)
def test_round_trip(image):
    rgb = to_batch(image)
    back = ycbcr_to_rgb(rgb_to_ycbcr(rgb))
    assert (back - rgb).abs().max() < 1e-3
    # What matters in the end: the 8-bit image comes back.
    np.testing.assert_array_equal(back.round().clamp(0, 255)[0].numpy().transpose(1, 2, 0), image)


@given(IMAGES)
@settings(max_examples=80, deadline=None)
def test_equals_the_metrics_conversion(image):
    """mmcv's, which MMagic's PSNR(convert_to='Y') uses."""
    ours = rgb_to_ycbcr(to_batch(image))
    theirs = mmcv.rgb2ycbcr(image.astype(np.float32) / 255) * 255
    np.testing.assert_allclose(ours[0].numpy().transpose(1, 2, 0), theirs, atol=2e-3)
    y = rgb_to_y(to_batch(image))
    np.testing.assert_allclose(y.numpy(), ours[:, :1].numpy(), atol=1e-4)
    assert y.min() >= 16 - 1e-3 and y.max() <= 235 + 1e-3
    assert ours[:, 1:].min() >= 16 - 1e-3 and ours[:, 1:].max() <= 240 + 1e-3


@given(st.integers(0, 255))
@settings(deadline=None)
def test_gray_has_no_colour(level):
    ycbcr = rgb_to_ycbcr(torch.full((1, 3, 2, 2), float(level)))
    assert (ycbcr[:, 1:] - 128).abs().max() < 1e-3
    assert (ycbcr[:, 0] - (16 + 219 * level / 255)).abs().max() < 1e-3
