# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Targets mixed with teachers' images: registered, by their shares, and named where they lack."""
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmagic.datasets import BasicImageDataset
from mmagic.datasets.transforms import (
    Flip,
    LoadImageFromFile,
    PackInputs,
    PairedRandomCrop,
    RandomTransposeHW,
    SetValues,
)
from mmagic_layout import smooth_image, write_hr_folder, write_layout
from small_models import write_checkpoint, write_config

from srdensenet_mm.datasets import HRFolderDataset, MixTarget, RandomPatchPair
from srdensenet_mm.datasets.resident_patches import ResidentPatches
from srdensenet_mm.datasets.teacher_images import TeacherImages
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.images.reading import read_rgb
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.inference.teacher_targets import make_teacher_targets


def repeated(low, scale):
    """A teacher that repeats each LR pixel: what it makes shows which LR it has seen."""
    return low.repeat(scale, 0).repeat(scale, 1)


def write_teacher(folder, hr, scale, shrink, make):
    """A teacher's folder for the images of ``hr``; ``make`` takes HR, cropped, and LR."""
    images = TeacherImages.create(folder, scale=scale)
    for path in sorted(Path(hr).iterdir()):
        for size in shrink:
            whole = read_rgb(path)
            height, width = (round(side * size) for side in whole.shape[:2])
            image = whole if size == 1 else cv2.resize(
                whole, (width, height), interpolation=cv2.INTER_AREA)
            cropped = np.ascontiguousarray(
                image[:height // scale * scale, :width // scale * scale])
            taught = make(cropped, matlab_bicubic(cropped, scale))
            cv2.imwrite(str(images.path(image, path)), taught[..., ::-1])
    return str(folder)


def pipeline(scale, patch):
    keys = ['img', 'gt']
    return [RandomPatchPair(scale, patch), Flip(keys, 0.5, 'horizontal'),
            Flip(keys, 0.5, 'vertical'), RandomTransposeHW(keys, 0.5), PackInputs()]


def tensors(sample):
    return sample['inputs'].numpy(), sample['data_samples'].gt_img.numpy()


def turns(patch):
    """The eight flips and rotations of a (3, H, W) array."""
    turned = [np.rot90(patch, k, (1, 2)) for k in range(4)]
    return turned + [np.flip(one, 2) for one in turned]


@given(scale=st.sampled_from([2, 3, 4]), sides=st.tuples(st.integers(25, 45), st.integers(25, 45)),
       shrink=st.sampled_from([(1, ), (1, 0.7), (0.6, )]), patch=st.sampled_from([12, 14]),
       seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_lr_hr_and_teacher_stay_registered(scale, sides, shrink, patch, seed):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / 'HR').mkdir()
        image = np.random.default_rng(seed).integers(0, 256, (*sides, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / 'HR/a.png'), image)
        repeats = write_teacher(folder / 'repeats', folder / 'HR', scale, shrink,
                                lambda high, low: repeated(low, scale))
        knows = write_teacher(folder / 'knows', folder / 'HR', scale, shrink,
                              lambda high, low: high)
        # As many numbers are drawn, so that both see the same patches.
        drawn = []
        for teachers in ([dict(folder=repeats, share=1.)],
                         [dict(folder=knows, share=0.5), dict(folder=repeats, share=0.25)]):
            dataset = HRFolderDataset(
                folder / 'HR', pipeline(scale, patch), shrink=shrink, teachers=teachers)
            np.random.seed(seed)
            drawn += [[tensors(dataset[i % len(dataset)]) for i in range(4)]]
        for (low, taught), (same_low, mix) in zip(*drawn, strict=True):
            np.testing.assert_array_equal(low, same_low)
            np.testing.assert_array_equal(taught, low.repeat(scale, 1).repeat(scale, 2))
            high = (mix - 0.25 * taught) / 0.75
            # HR is where the LR is: one turn of one crop has both.
            found = 0
            for index in range(len(dataset)):
                whole = dataset.image(index)
                lr = matlab_bicubic(np.ascontiguousarray(
                    whole[:whole.shape[0] // scale * scale, :whole.shape[1] // scale * scale]),
                    scale)
                side = patch // scale
                windows = np.lib.stride_tricks.sliding_window_view(lr, (side, side), (0, 1))
                found += len({
                    (top, left) for one, other in zip(turns(low), turns(high), strict=True)
                    for top, left in np.argwhere((windows == one).all((2, 3, 4)))
                    if np.allclose(whole[top * scale:(top + side) * scale,
                                         left * scale:(left + side) * scale].transpose(2, 0, 1),
                                   other, atol=1e-2)})
            assert found == 1
        # The same on a device, where the patches lie.
        resident = ResidentPatches(
            map(dataset.images, range(len(dataset))), scale, patch // scale * scale,
            shares=dataset.shares)
        torch.manual_seed(seed)
        low, mix = resident.draw(8)
        dataset = HRFolderDataset(folder / 'HR', pipeline(scale, patch), shrink=shrink,
                                  teachers=[dict(folder=repeats, share=1.)])
        resident = ResidentPatches(
            map(dataset.images, range(len(dataset))), scale, patch // scale * scale,
            shares=dataset.shares)
        torch.manual_seed(seed)
        same_low, taught = resident.draw(8)
        assert torch.equal(low, same_low)
        assert torch.equal(
            taught, low.repeat_interleave(scale, 2).repeat_interleave(scale, 3).float())
        high = (mix - 0.25 * taught) / 0.75
        assert (high - high.round()).abs().max() < 1e-2


@pytest.fixture
def hr(tmp_path):
    write_hr_folder(tmp_path / 'HR', 2)
    return tmp_path / 'HR'


def dataset_with(hr, folder, **settings):
    teachers = [dict(folder=str(folder), share=0.5)]
    return HRFolderDataset(hr, **{**dict(pipeline=pipeline(4, 24), teachers=teachers), **settings})


def test_a_folder_is_made_once_and_gone_on_with(hr, tmp_path):
    teacher = str(write_checkpoint(tmp_path / 'teacher.pth'))
    out = tmp_path / 'made'
    report = make_teacher_targets([teacher], [hr], out, shrink=(1, 0.5))
    assert (report.written, report.already_there) == (4, 0)
    image = read_rgb(hr / '1.png')
    low = matlab_bicubic(np.ascontiguousarray(image[:120, :108]), 4)
    expected = Upscaler(teacher)(np.ascontiguousarray(low[..., ::-1]))[..., ::-1]
    np.testing.assert_array_equal(TeacherImages(out).read(image, hr / '1.png'), expected)
    sample = dataset_with(hr, out, shrink=(1, 0.5))[0]
    assert sample['data_samples'].gt_img.dtype == torch.float32
    # A killed run has made a part; the next one makes the rest.
    next(iter(sorted(out.glob('1_*.png')))).unlink()
    report = make_teacher_targets([teacher], [hr], out, shrink=(1, 0.5))
    assert (report.written, report.already_there) == (1, 3)
    other = str(write_checkpoint(tmp_path / 'other.pth', seed=1))
    with pytest.raises(UserError, match=f'{out}/teacher.json: .*teachers=.*name another folder'):
        make_teacher_targets([other], [hr], out)


def test_teachers_are_averaged_and_may_be_of_a_config(hr, tmp_path):
    files = [str(write_checkpoint(tmp_path / f'{seed}.pth', seed=seed)) for seed in (0, 1)]
    config = write_config(tmp_path / 'config.py')
    make_teacher_targets([files[0], f'{config}={files[1]}'], [hr], tmp_path / 'mean', scale=4)
    image = read_rgb(hr / '0.png')
    low = np.ascontiguousarray(
        matlab_bicubic(np.ascontiguousarray(image[:120, :108]), 4)[..., ::-1])
    outputs = [Upscaler(file)(low)[..., ::-1].astype(float) for file in files]
    found = TeacherImages(tmp_path / 'mean').read(image, hr / '0.png')
    assert np.abs(found - np.mean(outputs, 0)).max() <= 0.5
    with pytest.raises(UserError, match='0.pth: upscales by 4, not by 2'):
        make_teacher_targets(files, [hr], tmp_path / 'x2', scale=2)


def test_a_missing_or_stale_image_is_named(hr, tmp_path):
    out = write_teacher(tmp_path / 'made', hr, 4, (1, ), lambda high, low: high)
    dataset_with(hr, out)[0]
    with pytest.raises(UserError, match=f'0.png .55x60.: {out} has no image of'):
        dataset_with(hr, out, shrink=(1, 0.5))[0]
    cv2.imwrite(str(hr / '1.png'), smooth_image(120, 110, seed=5))
    with pytest.raises(UserError, match=f'1.png .110x120.: {out} has no image of') as caught:
        # Bad images may be skipped, a teacher that is missing not.
        dataset_with(hr, out, on_bad_image='skip')[0]
    assert 'make_teacher_targets.py' in str(caught.value) and '\n' not in str(caught.value)
    cv2.imwrite(str(hr / 'new.png'), smooth_image(120, 110, seed=6))
    (hr / '1.png').unlink()
    with pytest.raises(UserError, match=f'new.png .*{out} has no image of'):
        dataset_with(hr, out, cache_gib=0)[1]


@pytest.mark.parametrize('settings, message', [
    (dict(teachers=[dict(folder='nowhere', share=0.5)]), 'nowhere: is no folder of teacher images'),
    (dict(teachers=dict(folder='a', share=0.5)), 'teachers: is no list such as'),
    (dict(teachers=[dict(folder='a', share=1.5)]), r'shares \[1.5\] must be above 0'),
    (dict(pipeline=pipeline(2, 24)), 'holds teacher images of x4, the pipeline makes pairs of x2'),
    (dict(pipeline=[PackInputs()], min_size=8), "RandomPatchPair, which must be the pipeline's"),
])
def test_settings_that_cannot_be(hr, tmp_path, settings, message):
    out = write_teacher(tmp_path / 'made', hr, 4, (1, ), lambda high, low: high)
    with pytest.raises(UserError, match=message):
        dataset_with(hr, out, **settings)


def test_pairs_of_mmagics_datasets(tmp_path):
    write_layout(tmp_path)
    root = tmp_path / 'DIV2K'
    for path in sorted((root / 'DIV2K_train_LR_bicubic/X4_sub').iterdir()):
        target = root / 'teacher_X4_sub' / path.name
        target.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(target), repeated(cv2.imread(str(path)), 4))
    loads = [LoadImageFromFile(key, color_type='color', channel_order='rgb')
             for key in ('img', 'gt', 'teacher')]

    def samples(share):
        keys = ['img', 'gt']
        np.random.seed(0)
        dataset = BasicImageDataset(
            ann_file='', data_root=str(root), filename_tmpl={}, data_prefix=dict(
                img='DIV2K_train_LR_bicubic/X4_sub', gt='DIV2K_train_HR_sub',
                teacher='teacher_X4_sub'),
            pipeline=[*loads, MixTarget(dict(teacher=share)),
                      SetValues(dict(scale=4)), PairedRandomCrop(96),
                      Flip(keys, 0.5, 'horizontal'), RandomTransposeHW(keys, 0.5), PackInputs()])
        return [tensors(dataset[i]) for i in range(4)]

    for low, taught in samples(1.):
        np.testing.assert_array_equal(taught, low.repeat(4, 1).repeat(4, 2))
    for (_, mix), (_, taught), (_, almost_hr) in zip(
            samples(0.5), samples(1.), samples(1e-6), strict=True):
        np.testing.assert_allclose(mix, (taught + almost_hr) / 2, atol=1e-2)
    with pytest.raises(ValueError, match='shape'):
        MixTarget(dict(teacher=1)).transform(dict(
            gt=np.zeros((2, 2, 3), np.uint8), teacher=np.zeros((4, 2, 3), np.uint8)))
