# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""MMagic's own models through our tools, and SRDenseNet through MMagic's own tools."""
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import mmagic
import numpy as np
import pytest
import torch
from mmagic_layout import write_layout

from srdensenet_mm.engine import running
from srdensenet_mm.engine.running import load_config, train

ROOT = Path(__file__).resolve().parents[2]
# Their networks shrunk, their data, losses, schedules and metrics unchanged.
RECIPES = {
    'edsr/edsr_x4c64b16_1xb16-300k_div2k.py': dict(mid_channels=4, num_blocks=2),
    'rdn/rdn_x4c64b16_1xb16-1000k_div2k.py': dict(
        mid_channels=4, num_blocks=2, num_layers=2, channel_growth=4),
    'srcnn/srcnn_x4k915_1xb16-1000k_div2k.py': dict(channels=(3, 6, 4, 3)),
}


@pytest.fixture
def site(tmp_path, monkeypatch, config_as_it_is):
    """A folder with ``data`` in it, as the current one."""
    write_layout(tmp_path / 'data')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def short(name, work_dir, max_iters=2):
    cfg = load_config(f'mmagic::{name}', str(work_dir), {
        'train_cfg.max_iters': max_iters, 'train_cfg.val_interval': 2,
        'default_hooks.checkpoint.interval': 2,
        'train_dataloader.batch_size': 2, 'train_dataloader.num_workers': 0,
        'val_dataloader.num_workers': 0})
    for loader in cfg.test_dataloader:
        loader.num_workers = 0
    cfg.model.generator.update(RECIPES[name])
    return cfg


def rgb(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize('name', RECIPES)
def test_trains_validates_resumes_and_tests(name, site):
    work_dir = site / 'work'
    runner = train(short(name, work_dir))
    assert np.isfinite(runner.message_hub.get_scalar('val/PSNR').current())
    assert not (site / 'work_dirs').exists()  # where MMagic's recipes would save
    resumed = train(short(name, work_dir, max_iters=4), resume=True)
    assert resumed.iter == 4 and len(resumed.message_hub.get_scalar('train/loss').data[0]) == 4

    scores = running.test(short(name, site / 'test'), str(work_dir / 'iter_4.pth'))
    assert set(scores) == {f'{data}/{metric}' for data in ('Set5', 'Set14', 'DIV2K')
                           for metric in ('PSNR', 'SSIM')}
    # The same by hand.
    lr = torch.from_numpy(rgb(site / 'data/Set5/LRbicx4/a.png')).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        out = resumed.model.eval().generator(lr)[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    error = (out.round() - rgb(site / 'data/Set5/GTmod12/a.png'))[4:-4, 4:-4]
    assert scores['Set5/PSNR'] == pytest.approx(
        20 * np.log10(255) - 10 * np.log10(np.mean(error**2)), abs=0.02)


OWN_RECIPE = """
_base_ = 'mmagic::srcnn/srcnn_x4k915_1xb16-1000k_div2k.py'
custom_imports = dict(imports=['srdensenet_mm'])
model = dict(
    _delete_=True,
    type='LumaEditModel',
    generator=dict(type='SRDenseNet', mid_channels=6, num_blocks=2, num_layers=2, growth_rate=4,
                   bottleneck_channels=8),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'))
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, out_dir=None))
custom_hooks = []
"""
# In one process, which imports MMagic once.
BOTH_TOOLS = """
import runpy, sys
tools, = sys.argv[1:]
sys.argv = ['train.py', 'own.py', '--work-dir', 'work']
runpy.run_path(f'{tools}/train.py', run_name='__main__')
sys.argv = ['test.py', 'own.py', 'work/iter_2.pth', '--work-dir', 'test', '--out', 'out.pkl']
runpy.run_path(f'{tools}/test.py', run_name='__main__')
"""


def test_custom_imports_is_all_that_mmagics_own_tools_need(site):
    """A foreign project's config, which knows nothing of this package but its name."""
    (site / 'own.py').write_text(OWN_RECIPE)
    tools = Path(mmagic.__file__).parent / '.mim/tools'
    done = subprocess.run(
        [sys.executable, '-c', BOTH_TOOLS, str(tools)], cwd=site, text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    log, = (site / 'work').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    validated = next(line['PSNR'] for line in lines if 'PSNR' in line)
    log, = (site / 'test').glob('*/*.json')
    tested = json.loads(log.read_text())
    assert tested['Set5/PSNR'] == pytest.approx(validated, abs=1e-3)
