# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What the recipe for photographs trains and validates on."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from srdensenet_mm.datasets import HRFolderDataset, RoundToUint8, matlab_bicubic

ROOT = Path(__file__).parents[2]
SET5 = ROOT / 'tests/data/Set5'


@pytest.fixture(scope='module')
def cfg():
    return Config.fromfile(ROOT / 'configs/srdensenet_x4_photo.py')


def test_patches_are_degraded_in_place_and_some_are_clean(cfg):
    """Each LR patch shows what its HR shows; the clean ones are MATLAB's bicubic of it."""
    np.random.seed(0)
    with DefaultScope.overwrite_default_scope('mmagic'):
        settings = dict(cfg.train_dataloader.dataset, data_root=str(SET5 / 'HR'))
        settings.pop('type')
        dataset = HRFolderDataset(**settings)
    clean, differences, shifted = 0, [], []
    for number in range(60):
        pair = dataset[number % len(dataset)]
        image = pair['inputs'].permute(1, 2, 0).numpy()
        gt = pair['data_samples'].gt_img.permute(1, 2, 0).numpy()
        assert image.dtype == gt.dtype == np.uint8
        assert image.shape == (32, 32, 3) and gt.shape == (128, 128, 3)
        # Away from the border, where the pixels around the patch count.
        inner = slice(2, -2), slice(2, -2)
        expected = matlab_bicubic(gt, 4)[inner].astype(int)
        found = image[inner].astype(int)
        clean += np.abs(found - expected).max() == 0
        differences.append(np.abs(found - expected).mean())
        shifted.append(np.abs(found[:, 1:] - expected[:, :-1]).mean())
    assert 8 <= clean <= 28  # 0.29 of 60, give or take three deviations
    assert np.max(differences) < 16
    assert np.mean(differences) < 0.6 * np.mean(shifted)


def test_it_is_validated_on_clean_and_on_jpeg(cfg):
    clean, jpeg = cfg.val_dataloader
    image = cv2.imread(str(SET5 / 'HR/butterfly.png'))[:96, :96]
    found = []
    for loader in (clean, jpeg):
        steps = [step for step in loader.dataset.pipeline if not step['type'].startswith('Load')]
        with DefaultScope.overwrite_default_scope('mmagic'):
            rgb = Compose([dict(step) for step in steps])(dict(img=image[..., ::-1].copy()))
        found.append(rgb['inputs'].permute(1, 2, 0).numpy()[..., ::-1])
    np.testing.assert_array_equal(found[0], image)
    stored = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    np.testing.assert_array_equal(found[1], cv2.imdecode(stored, cv2.IMREAD_COLOR))
    assert [evaluator.metrics[0].prefix for evaluator in cfg.val_evaluator] == [
        'Set5', 'Set5-JPEG60']


def test_round_to_uint8():
    images = dict(img=np.float32([[-3, 0.4, 0.6], [254.4, 254.6, 300]]),
                  gt=np.uint8([[7]]))
    found = RoundToUint8(['img', 'gt'])(images)
    assert found['img'].dtype == np.uint8 and found['gt'].dtype == np.uint8
    assert found['img'].tolist() == [[0, 0, 1], [254, 255, 255]] and found['gt'].tolist() == [[7]]
