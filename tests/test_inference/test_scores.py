# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The PNGs of tools/infer.py have the scores that tools/test.py prints."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmagic_layout import write_layout
from run_tools_here import call_tool

from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.engine import running
from srdensenet_mm.engine.running import load_config
from srdensenet_mm.models import SRDenseNet

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SMALL = dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=4, bottleneck_channels=8)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp('site')
    write_layout(folder / 'data')
    return folder


def fitted(channels, folder):
    """A network after a few steps on an image, so that its own looks like one."""
    torch.manual_seed(0)
    net = SRDenseNet(in_channels=channels, out_channels=channels, **SMALL)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    lr, hr = (torch.from_numpy(cv2.imread(str(folder / name / 'a.png'))[..., ::-1].copy())
              .permute(2, 0, 1)[None, :channels] / 255 for name in ('LRbicx4', 'GTmod12'))
    for _ in range(60):
        optimizer.zero_grad()
        F.mse_loss(net(lr), hr).backward()
        optimizer.step()
    return net.eval()


def psnr_of_luma(path, reference, border=4):
    # BT.601 of studio range, from 0..255.
    weights = np.array([24.966, 128.553, 65.481]) / 255
    a, b = (cv2.imread(str(name)).astype(np.float64) @ weights for name in (path, reference))
    error = (a - b)[border:-border, border:-border]
    return 20 * np.log10(255) - 10 * np.log10(np.mean(error**2))


@pytest.mark.parametrize('recipe, channels', [
    ('srdensenet_x4_div2k', 1), ('srdensenet_rgb_x4_div2k', 3)])
def test_images_have_the_score_of_the_test(
        site, tmp_path, monkeypatch, config_as_it_is, recipe, channels):
    monkeypatch.chdir(site)
    checkpoint, set5 = tmp_path / 'net.pth', site / 'data' / 'Set5'
    save_network(fitted(channels, set5), checkpoint)

    cfg = load_config(str(CONFIGS / f'{recipe}.py'), str(tmp_path / 'test'))
    cfg.model.generator.update(SMALL)
    for loader in cfg.test_dataloader:
        loader.update(num_workers=0, persistent_workers=False)
    cfg.vis_backends = cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    expected = running.test(cfg, str(checkpoint))['Set5-Y/PSNR']

    assert call_tool('infer', set5 / 'LRbicx4', '--checkpoint', checkpoint, '--out',
                     tmp_path / 'out', '--device', 'cpu')[0] == 0
    found = psnr_of_luma(tmp_path / 'out' / 'a.png', set5 / 'GTmod12' / 'a.png')
    assert expected > 15
    # A PNG's values are rounded, by a twelfth in the square.
    assert found == pytest.approx(expected, abs=0.05)
