# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import numpy as np
import pytest
from PIL import Image

from srdensenet_mm.engine.checks.images import smallest_side
from srdensenet_mm.images.decoding import read_size
from srdensenet_mm.images.files import read_image


@pytest.mark.parametrize('orientation, size', [(1, (7, 5)), (3, (7, 5)), (4, (7, 5)),
                                               (5, (5, 7)), (6, (5, 7)), (8, (5, 7))])
def test_a_size_is_that_of_the_upright_image(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ('a.jpg', 'a.png', 'a.tif', 'a.webp'):
        Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / name, exif=exif)
        assert read_size(str(tmp_path / name)) == size
        assert read_image(tmp_path / name).pixels.shape[:2] == size[::-1]


def test_no_size_of_what_is_no_image(tmp_path):
    (tmp_path / 'a.png').write_text('text')
    assert read_size(str(tmp_path / 'a.png')) is read_size(str(tmp_path / 'none.png')) is None


@pytest.mark.parametrize('evaluators, side', [
    (None, 1), (dict(type='MAE'), 1), (dict(type='PSNR', crop_border=4), 9),
    (dict(type='SSIM'), 11), (dict(type='mmagic.SSIM', crop_border=3), 17),
    ([dict(type='Evaluator', metrics=[dict(type='PSNR', crop_border=8)]),
      dict(type='Evaluator', metrics=dict(type='SSIM', crop_border=2))], 17)])
def test_the_smallest_side_that_can_be_scored(evaluators, side):
    assert smallest_side(evaluators) == side
