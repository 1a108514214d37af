# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""studies/photographs.py on a small network."""
from pathlib import Path

import cv2
import numpy as np
import photographs
import pytest
import torch

from srdensenet_mm.benchmark.scoring import DataSet, mean_metrics
from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.datasets import matlab_bicubic, matlab_bicubic_upscale
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import SRDenseNet

SET5 = Path(__file__).parents[1] / 'data/Set5/HR'


@pytest.fixture
def folder(tmp_path):
    for name in ('GTmod12', 'LRbicx2'):
        (tmp_path / 'Set' / name).mkdir(parents=True)
    for name in ('butterfly', 'woman'):
        high = cv2.imread(str(SET5 / f'{name}.png'))[:48, :60]
        cv2.imwrite(str(tmp_path / f'Set/GTmod12/{name}.png'), high)
        cv2.imwrite(str(tmp_path / f'Set/LRbicx2/{name}.png'), matlab_bicubic(high, 2))
    return tmp_path / 'Set'


def psnr(found, expected):
    """On Y, 2 pixels of border left out, from the definition."""
    luma = [np.tensordot(image[2:-2, 2:-2].astype(float), [24.966, 128.553, 65.481], 1) / 255
            for image in (found, expected)]
    return 10 * np.log10(255**2 / np.mean((luma[0] - luma[1])**2))


def test_scores_are_those_of_the_degraded_image(folder, tmp_path):
    torch.manual_seed(0)
    save_network(SRDenseNet(mid_channels=6, num_blocks=1, num_layers=2, growth_rate=3,
                            bottleneck_channels=6, upscale_factor=2), tmp_path / 'net.pth')
    upscaler = Upscaler(tmp_path / 'net.pth')
    chosen = photographs.degradations([80, 60, 40], [5.])
    assert list(chosen) == ['clean', 'JPEG 80', 'JPEG 60', 'JPEG 40', 'noise 5',
                            'noise 5, then JPEG 60']
    data = DataSet(folder, 2)
    for title, quality in (('clean', None), ('JPEG 60', 60)):
        expected = []
        for path in sorted((folder / 'GTmod12').glob('*.png')):
            high, low = cv2.imread(str(path)), cv2.imread(str(folder / 'LRbicx2' / path.name))
            if quality:
                coded = cv2.imencode('.jpg', low, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                low = cv2.imdecode(coded, cv2.IMREAD_COLOR)
            expected.append([psnr(matlab_bicubic_upscale(low, 2), high), psnr(upscaler(low), high)])
        found = photographs.score(chosen[title], data, 2, dict(net=upscaler))
        assert list(found) == ['bicubic', 'net']
        assert [mean_metrics([*scores.values()])['PSNR-Y'] for scores in found.values()] == (
            pytest.approx(np.mean(expected, axis=0), abs=0.02))


def test_noise_is_as_strong_as_said_and_the_same_each_time():
    noisy = photographs.degradations([], [5.])['noise 5']
    gray = np.full((64, 64, 3), 128, np.uint8)
    assert np.std(noisy(gray).astype(float)) == pytest.approx(5, rel=0.05)
    np.testing.assert_array_equal(noisy(gray), noisy(gray))
