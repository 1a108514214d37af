# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from mmcv.image import rgb2ycbcr, ycbcr2rgb

from srdensenet_mm.models.colour import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb


def _image(seed=0):
    return np.random.default_rng(seed).random((6, 5, 3), dtype=np.float32)


def test_values_of_the_standard():
    """BT.601 in studio range: white 235, black 16, grey has no colour."""
    rgb = torch.tensor([[255., 0., 128.]]).expand(3, 3).reshape(1, 3, 1, 3)
    ycbcr = rgb_to_ycbcr(rgb)
    torch.testing.assert_close(ycbcr[0, 0, 0], torch.tensor([235., 16., 16 + 219 * 128 / 255]))
    torch.testing.assert_close(ycbcr[0, 1:], torch.full((2, 1, 3), 128.))
    red = rgb_to_ycbcr(torch.tensor([255., 0., 0.]).view(3, 1, 1)).flatten()
    torch.testing.assert_close(red, torch.tensor([16 + 65.481, 128 - 37.797, 240.]))


def test_equals_mmcv():
    """mmcv's functions are those behind MMagic's ``convert_to='Y'``."""
    image = _image()
    ours = rgb_to_ycbcr(torch.from_numpy(image).permute(2, 0, 1) * 255)
    theirs = torch.from_numpy(rgb2ycbcr(image)).permute(2, 0, 1) * 255
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    torch.testing.assert_close(rgb_to_y(torch.from_numpy(image).permute(2, 0, 1) * 255),
                               ours[:1])
    back = torch.from_numpy(ycbcr2rgb(rgb2ycbcr(image))).permute(2, 0, 1) * 255
    torch.testing.assert_close(ycbcr_to_rgb(ours), back, atol=5e-2, rtol=0)


def test_round_trip():
    rgb = torch.from_numpy(_image(1)).permute(2, 0, 1)[None] * 255
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, atol=1e-3, rtol=0)


def test_autocast_does_not_coarsen():
    rgb = torch.from_numpy(_image(2)).permute(2, 0, 1)[None] * 255
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(rgb_to_y(rgb), rgb_to_y(rgb.clone()))
        luma = rgb_to_y(rgb)
    assert luma.dtype is torch.float32
    assert torch.equal(luma, rgb_to_y(rgb))


def test_other_channel_counts_are_refused():
    with pytest.raises(ValueError, match='3 channels'):
        rgb_to_y(torch.zeros(1, 1, 4, 4))
