# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Recipes, their networks shrunk, train and validate through what the tools call.

One of each sort of data, schedule and model; test_recipe_files.py has all of them take a step.
"""
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmagic_layout import write_hr_folder, write_layout
from torchvision.models import vgg

from srdensenet_mm.checkpoints import load_network_with_meta, save_network
from srdensenet_mm.engine import running
from srdensenet_mm.engine.running import load_config, train
from srdensenet_mm.models import SRDenseNet

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = [
    'srdensenet_rgb_x4_div2k', 'srdensenet_x2_div2k', 'srdensenet_x3_div2k', 'srdensenet_x8_div2k',
    'srdensenet_x4_demo', 'srdensenet_x4_imagenet50k', 'srdensenet_x4_imagenet50k_cosine',
    'srdensenet_x4_srgan_div2k'
]
SMALL = dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=4, bottleneck_channels=8)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder with ``data`` in it."""
    folder = tmp_path_factory.mktemp('site')
    write_layout(folder / 'data', scales=(2, 3, 4, 6, 8))
    write_hr_folder(folder / 'data/train_HR')
    return folder


@pytest.fixture(autouse=True)
def there(site, monkeypatch, config_as_it_is):
    monkeypatch.chdir(site)


@pytest.fixture
def tiny_vgg(monkeypatch):
    """MMagic's perceptual loss downloads VGG19 whatever its arguments say."""
    layers = [4, 4, 'M', 4, 4, 'M', *[4] * 4, 'M', *[4] * 4, 'M', *[4] * 4, 'M']
    monkeypatch.setattr(
        vgg, 'vgg19', lambda pretrained: SimpleNamespace(features=vgg.make_layers(layers)))


def shrunk(name, work_dir, options=None):
    """A recipe as ``tools/train.py`` reads it, for three iterations of a small network."""
    cfg = load_config(str(CONFIGS / f'{name}.py'), str(work_dir), options)
    cfg.model.generator.get('encoder', cfg.model.generator).update(SMALL)
    if 'discriminator' in cfg.model:
        cfg.model.discriminator.mid_channels = 2
    cfg.train_cfg.update(max_iters=3, val_interval=3)
    cfg.train_dataloader.batch_size = 2
    scored = [*(cfg.val_dataloader if isinstance(cfg.val_dataloader, list) else [
        cfg.val_dataloader]), *cfg.test_dataloader]
    for loader in [cfg.train_dataloader, *scored]:
        loader.update(num_workers=0, persistent_workers=False)
    if cfg.train_dataloader.dataset.type == 'HRFolderDataset':
        cfg.train_dataloader.dataset.data_root = ['data/train_HR']
    for loader in scored:
        loader.dataset.data_root = re.sub('.*/', 'data/', loader.dataset.data_root)
    cfg.default_hooks.logger.interval = 1
    cfg.vis_backends = cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    return cfg


@pytest.mark.parametrize('name', NAMES)
def test_trains_and_validates(name, tmp_path, tiny_vgg):
    cfg = shrunk(name, tmp_path)
    runner = train(cfg)
    assert runner.iter == 3
    losses = [key for key in runner.message_hub.log_scalars if key.startswith('train/loss')]
    assert losses and all(
        math.isfinite(runner.message_hub.get_scalar(key).current()) for key in losses)
    for metric in ('PSNR', 'SSIM', 'RGB/PSNR', 'RGB/SSIM'):
        assert math.isfinite(runner.message_hub.get_scalar(f'val/{metric}').current())
    best, = tmp_path.glob('best_PSNR_iter_3.pth')
    network, meta = load_network_with_meta(best)
    assert network.upscale_factor == cfg.model.generator.upscale_factor
    assert {key: meta['network'][key] for key in SMALL} == SMALL
    assert meta['colour'] == ('rgb' if cfg.model.generator.in_channels == 3 else 'y')
    averaging = [hook for hook in cfg.custom_hooks if hook.type == 'EMAHook']
    assert meta.get('averaged_weights', False) == bool(averaging)


def test_a_run_is_tested_by_its_recipe(tmp_path):
    """Both sets, both colour spaces; validation has scored the weights that are tested."""
    cfg = shrunk('srdensenet_x4_div2k', tmp_path)
    runner = train(cfg)
    scores = running.test(shrunk('srdensenet_x4_div2k', tmp_path / 'test'),
                  str(tmp_path / 'best_PSNR_iter_3.pth'))
    assert set(scores) == {f'{name}-{colour}/{metric}' for name in ('Set5', 'Set14')
                           for colour in ('Y', 'RGB') for metric in ('PSNR', 'SSIM')}
    validated = runner.message_hub.get_scalar('val/PSNR').current()
    assert scores['Set5-Y/PSNR'] == pytest.approx(validated, abs=1e-3)


def test_a_network_of_any_scale(tmp_path):
    """Trained from a file's trunk, saved, and tested at all its scales."""
    name = 'srdensenet_liif'
    save_network(SRDenseNet(**SMALL), tmp_path / 'trunk.pth')
    options = {'load_from': str(tmp_path / 'trunk.pth')}
    cfg = shrunk(name, tmp_path / 'run', options)
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[0].lr_patch_size, pipeline[-2].sample_quantity = 8, 50
    train(cfg)
    best, = (tmp_path / 'run').glob('best_*_iter_3.pth')
    meta = load_network_with_meta(best)[1]
    assert meta['colour'] == 'y' and meta['averaged_weights']
    assert {key: meta['network']['encoder'][key] for key in SMALL} == SMALL
    scores = running.test(shrunk(name, tmp_path / 'test', options), str(best))
    assert set(scores) == {
        f'{data}x{scale}-{colour}/{metric}' for data in ('Set5', 'Set14')
        for scale in (2, 3, 4, 6) for colour in ('Y', 'RGB') for metric in ('PSNR', 'SSIM')}
    assert all(map(math.isfinite, scores.values()))
