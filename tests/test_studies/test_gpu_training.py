# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""studies/gpu_training from end to end, small, without MMEngine and MMagic where it trains."""
import json
import tarfile

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bare_python import run as run_script
from gpu_training import images as lay
from gpu_training import training
from gpu_training.fast_network import Variant, upscale
from gpu_training.teachers import Teacher, trace_teacher

from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=6, num_blocks=2, num_layers=3, growth_rate=2, bottleneck_channels=16)


class Enlarge(torch.nn.Module):
    """A teacher that is easily told: each pixel four times as wide, and darker by half."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return F.interpolate(x, scale_factor=self.scale) / 2


@pytest.fixture(scope='module')
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('packs')
    rng = np.random.default_rng(0)
    for i in range(5):
        image = cv2.resize(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8), (140, 150 + i))
        cv2.imwrite(str(folder / f'{i}.png'), image)
    cv2.imwrite(str(folder / 'small.png'), image[:20])
    lay.pack([folder], folder, 0.06, 0.12, 90, held_back=1, min_side=100)
    for scale in (2, 3, 4):
        trace_teacher(Enlarge(scale).eval(), folder / f'enlarge_x{scale}.ts.gz')
    return folder


def run(*arguments, bare=True):
    return run_script('gpu_training', *arguments, bare=bare)


def test_parts_hold_all_images_and_are_small(packs):
    names = []
    for part in sorted(packs.glob('images-*.tar')):
        assert part.stat().st_size <= 0.06 * 2**20
        with tarfile.open(part) as tar:
            names.append(tar.getnames())
    assert len(names) == 2
    # Held-back images are in every part, any other in one.
    trained = [name for part in names for name in part if not name.startswith('held-back')]
    assert len(trained) == len(set(trained)) == 4
    assert all(sum(name.startswith('held-back') for name in part) == 1 for part in names)


@pytest.mark.parametrize('scale', (2, 3, 4))
def test_patches_are_matlab_bicubic_and_target_a_mix(packs, scale):
    """Each LR patch, turned back, is found in the image's own LR, the target beside it."""
    images, _ = lay.unpack(sorted(packs.glob('images-*.tar')))
    planes = lay.Planes(images[:1], scale, 12, (1, ), torch.device('cpu'), seed=3)
    planes.teach(Teacher([packs / f'enlarge_x{scale}.ts.gz'], torch.device('cpu')), 0.75, 60)
    top, left = np.random.default_rng(3).integers(0, scale, (1, 1, 2))[0, 0]
    image = images[0][top:, left:]
    height, width = (side // scale * scale for side in image.shape[:2])
    small = matlab_bicubic(image[:height, :width], scale)
    low, high = lay.luma(small), lay.luma(image[:height, :width])
    taught = lay.luma(small.repeat(scale, 0).repeat(scale, 1))
    mix = 0.25 * high + 0.75 * ((taught - 16 / 255) / 2 + 16 / 255)
    windows = low.unfold(0, 12, 1).unfold(1, 12, 1)
    torch.manual_seed(0)
    for patch, target in zip(*planes.draw(16), strict=True):
        for turn in range(8):
            back, wide = (part[0].rot90(turn % 4) for part in (patch, target))
            if turn >= 4:
                back, wide = back.flip(1), wide.flip(1)
            off = (windows - back).abs().amax((2, 3))
            if off.min() < 1e-3:
                i, j = divmod(int(off.argmin()), off.size(1))
                there = mix[scale * i:scale * (i + 12), scale * j:scale * (j + 12)]
                torch.testing.assert_close(wide, there, atol=2e-3, rtol=0)
                break
        else:
            raise AssertionError('a patch is not of the image')


@pytest.mark.parametrize('variant', (
    dict(form='plain'), dict(), dict(shifts_below=5), dict(recompute=True)), ids=str)
@pytest.mark.parametrize('kwargs', (
    dict(upscale_factor=4), dict(upscale_factor=3, bottleneck_act=True),
    dict(upscale_factor=2, deconv_kernel=3)), ids=str)
def test_variants_compute_the_network_and_its_gradients(variant, kwargs):
    torch.manual_seed(0)
    network = SRDenseNet(**SMALL, **kwargs).double()
    x = torch.rand(2, 1, 7, 8, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad(out.square().sum(), list(network.parameters())) + (out, )
        for out in (upscale(network, x, Variant(**variant), torch.float64), network(x)))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_a_dead_block_is_counted():
    torch.manual_seed(0)
    network = SRDenseNet(**{**SMALL, 'num_blocks': 3})
    with torch.no_grad():
        for layer in network.blocks[1].layers:
            layer.bias.fill_(-100)
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    patches = training.patches_of([image, image[::-1]], 4, torch.device('cpu'))
    assert int(training.dead_of(network, patches)[2].sum()) == 6


def test_from_packs_to_a_published_checkpoint(packs, tmp_path):
    """Cut after x4's first state, gone on with elsewhere, x3 and x2 from the trunk, published."""
    settings = ['--device', 'cpu', '--network', json.dumps(SMALL), '--patch', '12', '--sizes', '1',
                '--batch', '2', '--reserve', '2', '--teacher-seconds', '5']
    first = run('train', packs, '--out', tmp_path / 'a', *settings,
                '--minutes', '0.12', '--phases', '4:60')
    assert '4 of 4 tiles taught' in first and 'to be continued' in first
    state = torch.load(tmp_path / 'a' / 'state.pt', weights_only=True)
    assert state['phase'] == 0 and state['steps'] > 0
    # What came back, elsewhere; little is left of the plan.
    second = run('train', packs, '--out', tmp_path / 'b', '--resume', tmp_path / 'a', *settings,
                 '--phases', f'4:{state["seconds"] / 60 + 0.005}', '3:0.005', '2:0.005')
    assert 'finished' in second
    log = torch.load(tmp_path / 'b' / 'x2.pt', weights_only=True)['log']
    assert log[:len(state['log'])] == state['log']
    assert [entry['scale'] for entry in log[len(state['log']):]] == [4, 3, 2]
    assert log[len(state['log'])]['iter'] > state['steps']
    run('collect', tmp_path / 'b', '--out', tmp_path / 'published', bare=False)
    for scale in (2, 3, 4):
        path, = (tmp_path / 'published').glob(f'srdensenet_x{scale}-*.pth')
        assert path.with_suffix('.png').exists()
        entries = path.with_suffix('.log.jsonl').read_text().splitlines()
        assert json.loads(entries[-1])['PSNR'] > 10
        image = np.zeros((9, 11, 3), np.uint8)
        assert Upscaler(path)(image).shape == (9 * scale, 11 * scale, 3)
