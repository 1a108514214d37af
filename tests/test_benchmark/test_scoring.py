# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""PSNR and SSIM against their definitions, and test sets with something wrong."""
import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity
from small_models import ROOT, write_checkpoint, write_config, write_data_set

from srdensenet_mm.benchmark.entries import Spec, build
from srdensenet_mm.benchmark.scoring import METRICS, DataSet, Scorer, check_folder, mean_metrics
from srdensenet_mm.datasets.prepare import prepare_dataset
from srdensenet_mm.errors import UserError


def _luma(bgr):
    return (16 + bgr.astype(np.float64) @ np.array([24.966, 128.553, 65.481]) / 255).round()


def _psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b)**2))


def _ssim(a, b):
    return structural_similarity(a.astype(np.float64), b.astype(np.float64), win_size=11,
                                 sigma=1.5, gaussian_weights=True, use_sample_covariance=False,
                                 data_range=255)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp('data') / 'Corner5')


def test_metrics_are_those_of_the_definitions(data, tmp_path):
    entry = build(Spec('small', str(write_config(tmp_path / 'small.py')),
                           str(write_checkpoint(tmp_path / 'small.pth'))))
    scorer, names = Scorer(4), []
    for stem, pair in DataSet(data, 4):
        names.append(stem)
        truth = cv2.imread(str(data / 'GTmod12' / f'{stem}.png'))
        for score in (scorer.score_bicubic(pair), scorer.score_model(entry, pair)):
            assert score.prediction.shape == truth.shape
            cut = [image[4:-4, 4:-4] for image in (score.prediction, truth)]
            found = score.metrics
            assert list(found) == list(METRICS)
            # The model's values are scored before they are rounded to integers.
            assert found['PSNR-RGB'] == pytest.approx(_psnr(*cut), abs=0.02)
            assert found['SSIM-RGB'] == pytest.approx(
                np.mean([_ssim(cut[0][..., i], cut[1][..., i]) for i in range(3)]), abs=2e-3)
            assert found['PSNR-Y'] == pytest.approx(_psnr(*map(_luma, cut)), abs=0.03)
            assert found['SSIM-Y'] == pytest.approx(_ssim(*map(_luma, cut)), abs=4e-3)
    assert names == ['baby', 'bird']


def test_bicubic_on_set5_is_the_fields(tmp_path):
    prepare_dataset(ROOT / 'tests/data/Set5/HR', tmp_path / 'Set5', scales=[4])
    scorer = Scorer(4)
    means = mean_metrics([scorer.score_bicubic(pair)
                          for _, pair in DataSet(tmp_path / 'Set5', 4)])
    # 28.42 and 0.8104 are of HR cropped to a multiple of 4.
    assert means['PSNR-Y'] == pytest.approx(28.395, abs=0.005)
    assert means['SSIM-Y'] == pytest.approx(0.8104, abs=0.002)


def test_x8_has_a_truth_of_its_own(tmp_path):
    folder = write_data_set(tmp_path / 'Corner5', scale=8)
    (stem, pair), _ = DataSet(folder, 8)
    assert stem == 'baby'
    assert pair['data_samples'].gt_img.shape == (3, 72, 80)


@pytest.mark.parametrize('odd', ['{}/bird.pgm', '{}/below/bird.png'])
def test_no_image_is_left_out(tmp_path, odd):
    folder = write_data_set(tmp_path / 'Corner5')
    for name in ('LRbicx4', 'GTmod12'):
        target = folder / odd.format(name)
        target.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(target), cv2.imread(str(folder / name / 'bird.png'), cv2.IMREAD_GRAYSCALE))
        (folder / name / 'bird.png').unlink()
    with pytest.raises(UserError, match=r'/bird\.(pgm|png): would not be scored'):
        DataSet(folder, 4)


def test_what_is_wrong_with_a_test_set_is_named(tmp_path):
    with pytest.raises(UserError, match='nowhere: has no folder GTmod12; prepare it with'):
        check_folder(tmp_path / 'nowhere')
    folder = write_data_set(tmp_path / 'Corner5')
    check_folder(folder)
    with pytest.raises(UserError, match='there is no folder .*/LRbicx3; prepare.*--scales 3'):
        DataSet(folder, 3)
    low = cv2.imread(str(folder / 'LRbicx4/bird.png'))
    cv2.imwrite(str(folder / 'LRbicx4/bird.png'), low[:-1])
    with pytest.raises(UserError, match=r'bird\.png: 21x17 .* 1/4 of .*GTmod12/bird\.png: 84x72'):
        DataSet(folder, 4)
    file = folder / 'LRbicx4/bird.png'
    cv2.imwrite(str(file), low)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match=r'LRbicx4/bird\.png: .*\(prepare it with'):
        DataSet(folder, 4)  # before anything is measured
    for name, side in (('GTmod12', 12), ('LRbicx4', 3)):
        cv2.imwrite(str(folder / name / 'bird.png'), low[:side, :side])
    with pytest.raises(UserError, match=r'GTmod12/bird\.png: 12x12 pixels is too small .* 19 to'):
        DataSet(folder, 4)
    file.unlink()
    with pytest.raises(UserError, match='GTmod12/bird.png: has no pair in .*/LRbicx4; prepare'):
        DataSet(folder, 4)
