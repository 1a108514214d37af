# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import logging

import numpy as np
import psutil
import pytest
import torch
from image_corpus import HEIGHT, make_rgb, write, write_bad, write_good
from mmagic.datasets.transforms import Flip, PackInputs, RandomTransposeHW
from mmengine.dataset import pseudo_collate, worker_init_fn

from srdensenet_mm.datasets import HRFolderDataset, RandomPatchPair, read_rgb
from srdensenet_mm.errors import UserError

PATCH = 24


def make_pipeline():
    keys = ['img', 'gt']
    return [
        RandomPatchPair(4, PATCH),
        Flip(keys, 0.5, 'horizontal'),
        Flip(keys, 0.5, 'vertical'),
        RandomTransposeHW(keys, 0.5),
        PackInputs()
    ]


def draw(dataset, count, seed=0):
    """The first bytes and the file of each of ``count`` samples."""
    np.random.seed(seed)
    return [(sample['data_samples'].gt_path, sample['inputs'].numpy().tobytes(),
             sample['data_samples'].gt_img.numpy().tobytes())
            for sample in (dataset[i % len(dataset)] for i in range(count))]


@pytest.fixture
def warnings_logged(monkeypatch):
    """What the dataset logs as warnings."""
    logged = []

    def log(message, logger=None, level=logging.INFO):
        if level == logging.WARNING:
            logged.append(message)

    monkeypatch.setattr('srdensenet_mm.datasets.bad_images.print_log', log)
    return logged


def test_samples_are_what_models_train_on(tmp_path):
    for i in range(3):
        write(tmp_path / f'folder {i}' / f'{i}.png', make_rgb(i))
    dataset = HRFolderDataset([tmp_path / 'folder 0', str(tmp_path / 'folder 2')],
                              make_pipeline())
    assert len(dataset) == 2
    sample = dataset[1]
    assert sample['inputs'].shape == (3, PATCH // 4, PATCH // 4)
    assert sample['inputs'].dtype == torch.uint8
    gt = sample['data_samples'].gt_img
    assert gt.shape == (3, PATCH, PATCH) and gt.dtype == torch.uint8
    # RGB, as the preprocessor is told.
    rgb = make_rgb(2)
    assert sample['data_samples'].gt_channel_order == 'rgb'
    assert sample['data_samples'].img_channel_order == 'rgb'
    values = {tuple(pixel) for pixel in rgb.reshape(-1, 3)}
    assert {tuple(pixel) for pixel in gt.reshape(3, -1).T.tolist()} <= values
    path = str(tmp_path / 'folder 2' / '2.png')
    assert sample['data_samples'].gt_path == sample['data_samples'].img_path == path


def test_the_models_preprocessor_takes_a_batch(tmp_path):
    from mmagic.models.data_preprocessors import DataPreprocessor
    for i in range(4):
        write(tmp_path / f'{i}.png', make_rgb(i))
    dataset = HRFolderDataset(tmp_path, make_pipeline())
    batch = pseudo_collate([dataset[i] for i in range(4)])
    out = DataPreprocessor(mean=[0, 0, 0], std=[255, 255, 255])(batch, training=True)
    assert out['inputs'].shape == (4, 3, PATCH // 4, PATCH // 4)
    assert out['data_samples'].gt_img.shape == (4, 3, PATCH, PATCH)
    assert out['inputs'].min() >= 0 and out['inputs'].max() <= 1
    assert [path.split('/')[-1] for path in out['data_samples'].gt_path] == [
        f'{i}.png' for i in range(4)]


def test_images_serve_in_smaller_sizes(tmp_path):
    rgb = np.tile(make_rgb(), (2, 2, 1))[:96, :120]
    write(tmp_path / 'x.png', rgb)
    write(tmp_path / 'y.png', rgb[::-1])
    dataset = HRFolderDataset(tmp_path, make_pipeline(), shrink=(1, 0.5))
    assert len(dataset) == 4
    assert np.array_equal(dataset.image(0), rgb)
    half = rgb.reshape(48, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(dataset.image(2) - half).max() <= 0.5
    assert np.abs(dataset.image(3) - half[::-1]).max() <= 0.5
    assert not dataset.image(3).flags.writeable
    assert [dataset[i]['data_samples'].ori_gt_shape[0] for i in range(4)] == [96, 96, 48, 48]


def test_smaller_sizes_are_averages_of_areas(tmp_path):
    rgb = make_rgb()[:50, :60]
    write(tmp_path / 'x.png', rgb)
    image = HRFolderDataset(tmp_path, min_size=1, shrink=(0.7, )).image(0)
    # What of each pixel, along an axis, lies within each of the smaller ones.
    shares = []
    for side, small in ((50, 35), (60, 42)):
        edges = np.arange(small + 1)[:, None] * side / small
        starts = np.arange(side)[None]
        share = np.minimum(edges[1:], starts + 1) - np.maximum(edges[:-1], starts)
        shares.append(np.maximum(share, 0) * small / side)
    average = np.einsum('ih,jw,hwc->ijc', *shares, rgb.astype(float))
    assert image.shape == (35, 42, 3)
    assert np.abs(image - average).max() <= 0.51


def test_a_size_that_is_too_small_is_left_out(tmp_path, warnings_logged):
    write(tmp_path / 'small.png', make_rgb()[:40, :48])
    write(tmp_path / 'large.png', np.tile(make_rgb(), (2, 2, 1))[:96, :120])
    for cache_gib in (1, 0):
        dataset = HRFolderDataset(
            tmp_path, make_pipeline(), shrink=(0.5, ), cache_gib=cache_gib)
        assert dataset.image(1) is None and dataset.image(0).shape == (48, 60, 3)
        drawn = {path for path, *_ in draw(dataset, 6)}
        assert drawn == {str(tmp_path / 'large.png')}
    assert not warnings_logged
    (tmp_path / 'large.png').unlink()
    with pytest.raises(UserError, match='none of the 1 images can be used: all are too small'):
        HRFolderDataset(tmp_path, make_pipeline(), shrink=(0.5, ))


@pytest.mark.parametrize('cache_gib', [1, 0])
def test_a_subset_gives_its_own_images(tmp_path, cache_gib):
    images = [np.full((40, 40, 3), 50 * i, np.uint8) for i in range(3)]
    images.insert(1, np.full((30, 30, 3), 200, np.uint8))  # too small in half its size
    for i, image in enumerate(images):
        write(tmp_path / f'{i}.png', image)
    dataset = HRFolderDataset(tmp_path, min_size=20, shrink=(0.5, 1), cache_gib=cache_gib)
    assert dataset.image(1) is None
    subset = dataset.get_subset([1, 3, 6, 5])
    dataset.get_subset_([3, 2, 5])
    for part, values in ((subset, [None, 100, 50, 200]), (dataset, [100, 50, 200])):
        found = [part.image(index) for index in range(len(part))]
        assert [None if one is None else one[0, 0, 0] for one in found] == values
        assert [part[i]['gt'][0, 0, 0] for i in range(len(part)) if values[i] is not None] == [
            value for value in values if value is not None]


def test_no_end_of_drawing_from_a_subset_of_bad_ones(tmp_path):
    for i in range(3):
        write(tmp_path / f'{i}.png', make_rgb(i))
    (tmp_path / '3.png').write_text('no image')
    dataset = HRFolderDataset(tmp_path, on_bad_image='skip')
    with pytest.raises(UserError, match='none of the 1 images can be used'):
        dataset.get_subset([3])[0]


@pytest.mark.parametrize('shrink', [(1, 0.5), (0.5, 1)])
def test_too_small_in_every_size(tmp_path, shrink):
    write(tmp_path / 'small.png', make_rgb()[:20, :20])
    with pytest.raises(UserError, match='none of the 1 images can be used'):
        HRFolderDataset(tmp_path, make_pipeline(), shrink=shrink, on_bad_image='skip')


@pytest.mark.parametrize('shrink', [(1, ), (1, 0.9)])
def test_bad_images_are_skipped_and_counted(tmp_path, warnings_logged, shrink):
    good, bad = write_good(tmp_path), write_bad(tmp_path / 'bad')
    for cache_gib in (1, 0):
        warnings_logged.clear()
        dataset = HRFolderDataset(
            tmp_path, make_pipeline(), shrink=shrink, on_bad_image='skip', cache_gib=cache_gib)
        assert len(dataset) == len(shrink) * (len(good) + len(bad))
        drawn = {path for path, *_ in draw(dataset, 3 * len(dataset))}
        assert drawn == {str(path) for path in good}
        # Named once each, however often and in how many sizes they are drawn, and counted.
        assert len(warnings_logged) == len(bad)
        for path, reason in bad.items():
            (message,) = [text for text in warnings_logged if str(path) in text]
            assert reason in message
        assert f'number {len(bad)}:' in warnings_logged[-1]


def test_no_end_of_drawing_where_none_can_be_used(tmp_path):
    for i in range(3):
        write(tmp_path / f'{i}.png', make_rgb(i, 20, 30))
    (tmp_path / 'bad.png').write_text('no image')
    dataset = HRFolderDataset(tmp_path, min_size=24, shrink=(1, 0.5), on_bad_image='skip',
                              cache_gib=0)
    with pytest.raises(UserError, match='none of the 4 images can be used'):
        dataset[0]


def test_what_is_drawn_does_not_depend_on_the_cache(tmp_path):
    write_good(tmp_path)
    write_bad(tmp_path / 'bad')
    sequences = [
        draw(HRFolderDataset(tmp_path, make_pipeline(), on_bad_image='skip', cache_gib=gib), 80)
        for gib in (1, 0, 60_000 / 2**30)
    ]
    assert sequences[0] == sequences[1] == sequences[2]
    again = draw(HRFolderDataset(tmp_path, make_pipeline(), on_bad_image='skip'), 80, seed=1)
    assert again != sequences[0]


def test_one_bad_image_ends_the_run(tmp_path):
    write(tmp_path / 'a.png', make_rgb())
    (tmp_path / 'b.png').write_bytes(b'')
    with pytest.raises(UserError, match=r"b\.png: is empty .*'skip'"):
        HRFolderDataset(tmp_path, make_pipeline())
    # Found when drawn, where it was not decoded before.
    dataset = HRFolderDataset(tmp_path, make_pipeline(), cache_gib=0)
    assert dataset[0]['inputs'].numel()
    with pytest.raises(UserError, match='on_bad_image'):
        dataset[1]


def test_smaller_than_the_patch(tmp_path):
    write(tmp_path / 'small.png', make_rgb())
    with pytest.raises(UserError, match=rf'small\.png: 61x{HEIGHT} .* 52x52'):
        HRFolderDataset(tmp_path, [RandomPatchPair(4, 52)])
    with pytest.raises(UserError, match='none of the 1 images can be used: .*small'):
        HRFolderDataset(tmp_path, [RandomPatchPair(4, 52)], on_bad_image='skip')
    assert len(HRFolderDataset(tmp_path, [RandomPatchPair(4, HEIGHT)])) == 1
    with pytest.raises(UserError, match='70x70'):
        HRFolderDataset(tmp_path, [RandomPatchPair(4, 48)], min_size=70)
    # A patch that does not fit would be found out when it is drawn, maybe hours later.
    with pytest.raises(UserError, match=rf'61x{HEIGHT} .* 52x52'):
        HRFolderDataset(tmp_path, [RandomPatchPair(4, 52)], min_size=48)


@pytest.mark.parametrize('name', [
    'LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE', 'OMPI_COMM_WORLD_LOCAL_SIZE'])
def test_processes_of_a_machine_share_its_memory(tmp_path, monkeypatch, name):
    paths = [write(tmp_path / f'{i}.png', make_rgb(i)) for i in range(9)]
    monkeypatch.setattr('srdensenet_mm.free_memory.free_main_memory',
                        lambda: 2 * 8 * read_rgb(paths[0]).nbytes)
    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    assert len(HRFolderDataset(tmp_path, make_pipeline())._cache) == 8
    monkeypatch.setenv(name, '4')
    assert len(HRFolderDataset(tmp_path, make_pipeline())._cache) == 2


def test_folders_and_settings_that_are_no_use(tmp_path):
    with pytest.raises(UserError, match="ann_file='list.txt': HRFolderDataset takes all images"):
        HRFolderDataset(tmp_path, ann_file='list.txt')
    write(tmp_path / 'a.png', make_rgb())
    HRFolderDataset(tmp_path, ann_file='', data_prefix=dict(img_path=''))
    with pytest.raises(UserError, match='data_prefix='):
        HRFolderDataset(tmp_path, data_prefix=dict(img_path='sub'))


def test_the_cache_keeps_to_its_limit_and_is_not_written_to(tmp_path):
    paths = [write(tmp_path / f'{i}.png', make_rgb(i)) for i in range(9)]
    size = read_rgb(paths[0]).nbytes
    dataset = HRFolderDataset(tmp_path, make_pipeline(), cache_gib=4.5 * size / 2**30)
    assert len(dataset._cache) == 4
    draw(dataset, 50)
    assert len(dataset._cache) == 4
    for index, (image, ) in dataset._cache.items():
        np.testing.assert_array_equal(image, read_rgb(paths[index]))
    whole = HRFolderDataset(tmp_path, [lambda results: results])[0]['gt']
    with pytest.raises(ValueError, match='read-only'):
        whole[:] = 0


class OwnMemory:
    """Read an image, and tell how much memory this process shares with no other."""

    def __call__(self, results):
        total = int(results['gt'].sum(dtype=np.int64))
        return np.array([total, psutil.Process().memory_full_info().uss])


def test_workers_share_the_cache(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    for i in range(10):  # 120 MB decoded.
        write(tmp_path / f'{i}.bmp', noise)
    dataset = HRFolderDataset(tmp_path, [OwnMemory()])
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=5, num_workers=1, multiprocessing_context='fork',
        worker_init_fn=lambda i: worker_init_fn(i, 1, 0, 0))
    sums, own = torch.cat(list(loader)).T
    assert (sums == int(noise.sum(dtype=np.int64))).all()
    assert own[-1] - own[0] < 30e6
