# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet in the package spandrel, with and without MMagic."""
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from foreign_srdensenets import NetworkA, NetworkB

from srdensenet_mm.checkpoints import convert_checkpoint, save_network
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import SRDenseNet

spandrel = pytest.importorskip('spandrel', reason='the extra "spandrel" is not installed')
import srdensenet_mm.spandrel  # noqa: E402, F401

ROOT = Path(__file__).resolve().parents[1]
SMALL = dict(mid_channels=4, num_blocks=2, num_layers=2, growth_rate=2, bottleneck_channels=4)
IMAGE = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8), (28, 21))
WITHOUT_MMAGIC = '''
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmagic', 'mmengine', 'mmcv'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Blocker())
'''


def by_spandrel(path):
    model = spandrel.ModelLoader().load_from_file(path)
    rgb = torch.from_numpy(IMAGE[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    return model, model(rgb)[0].permute(1, 2, 0).numpy()[..., ::-1] * 255


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('variant', [
    dict(), dict(upscale_factor=2, feature_level='hl'), dict(upscale_factor=3, feature_level='h'),
    dict(deconv_kernel=3), dict(in_channels=3, out_channels=3)], ids=str)
def test_it_reads_ours_and_upscales_as_we_do(tmp_path, variant, suffix):
    torch.manual_seed(0)
    path = tmp_path / f'ours{suffix}'
    network = SRDenseNet(**SMALL, **variant)
    save_network(network, path)
    model, found = by_spandrel(path)
    assert (model.scale, model.input_channels, model.output_channels, model.purpose) == (
        network.upscale_factor, 3, 3, 'SR')
    assert model.architecture.name == 'SRDenseNet' and network.feature_level in model.tags
    assert np.abs(found - Upscaler(path, device='cpu')(IMAGE)).max() <= 0.51


@pytest.mark.parametrize('make', [NetworkA, NetworkB])
def test_it_reads_other_implementations_files(tmp_path, make):
    torch.manual_seed(0)
    source, ours = tmp_path / 'theirs.pth', tmp_path / 'ours.pth'
    torch.save(dict(state_dict={f'module.{key}': value for key, value in make(
        mid=4, blocks=2, layers=2, growth=2, wide=4).state_dict().items()}), source)
    convert_checkpoint(source, ours)
    model, found = by_spandrel(source)
    assert model.scale == 4
    assert np.abs(found - Upscaler(ours, device='cpu')(IMAGE)).max() <= 0.51


def test_nobody_else_takes_our_files_and_we_nobody_elses():
    ours = spandrel.MAIN_REGISTRY['SRDenseNet'].architecture
    files = [SRDenseNet(**SMALL).state_dict(), *(make(
        mid=4, blocks=2, layers=2, growth=2, wide=4).state_dict() for make in (NetworkA, NetworkB))]
    for weights in files:
        assert [arch.architecture.id for arch in spandrel.MAIN_REGISTRY
                if arch.detect(weights)] == ['SRDenseNet']
    from spandrel.architectures.ESRGAN import ESRGAN
    assert not ours.detect(ESRGAN(num_filters=8, num_blocks=1).state_dict())


def test_short_types(tmp_path):
    path = tmp_path / 'ours.pth'
    save_network(SRDenseNet(**SMALL), path)
    model = spandrel.ModelLoader().load_from_file(path)
    inputs = torch.rand(1, 3, 16, 16)
    expected = model(inputs)
    out = model.bfloat16()(inputs.bfloat16())
    assert out.dtype is torch.bfloat16 and (out.float() - expected).abs().mean() < 0.02


def test_without_mmagic(tmp_path):
    path = next(ROOT.glob('checkpoints/srdensenet_x2-*.pth'))
    done = subprocess.run([sys.executable, '-c', WITHOUT_MMAGIC + f'''
import torch
import srdensenet_mm.spandrel
from spandrel import ModelLoader
model = ModelLoader().load_from_file({str(path)!r})
assert model(torch.rand(1, 3, 16, 20)).shape == (1, 3, 32, 40) and 'luma' in model.tags
from srdensenet_mm.checkpoints import load_network
assert load_network({str(path)!r}).upscale_factor == 2
assert not [name for name in sys.modules if name.startswith(('mmagic', 'mmengine', 'mmcv'))]
from srdensenet_mm.errors import run_tool
run_tool(lambda: __import__('srdensenet_mm.engine'))
'''], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    line, = done.stderr.splitlines()
    assert line.startswith('error: mm') and 'see "Install" in the README' in line
