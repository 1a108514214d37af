# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet as the generator of MMagic's SRGAN and ESRGAN."""
import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lively_weights import make_lively
from mmagic.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torchvision.models import vgg

from srdensenet_mm.engine.optimizers.amp_optim_wrapper import enable_amp
from srdensenet_mm.models import SRDenseNet

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# VGG19's layers with 4 maps each.
TINY_VGG19 = [4, 4, 'M', 4, 4, 'M', *[4] * 4, 'M', *[4] * 4, 'M', *[4] * 4, 'M']


@pytest.fixture
def tiny_vgg(monkeypatch):
    """MMagic's perceptual loss downloads VGG19 whatever its arguments say."""
    init_default_scope('mmagic')
    monkeypatch.setattr(
        vgg, 'vgg19', lambda pretrained: SimpleNamespace(features=vgg.make_layers(TINY_VGG19)))


def build(name, amp=False):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.model.generator.update(
        mid_channels=6, num_blocks=2, num_layers=2, growth_rate=4, bottleneck_channels=8)
    cfg.model.discriminator.mid_channels = 2
    if amp:
        enable_amp(cfg, 'bf16')
    model = MODELS.build(cfg.model)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(type=cfg.optim_wrapper.pop('constructor'), optim_wrapper_cfg=cfg.optim_wrapper))
    return model, constructor(model), cfg


def batch(size=128):
    gt = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    lr = torch.nn.functional.avg_pool2d(gt.float(), 4).byte()
    data = dict(inputs=list(lr), data_samples=[DataSample(gt_img=image) for image in gt])
    return data, lr / 255, gt / 255


def changed(before, after):
    return any(not torch.equal(p, q) for p, q in zip(
        before.parameters(), after.parameters(), strict=True))


@pytest.mark.parametrize('name, amp', [
    ('srdensenet_x4_srgan_div2k', False),
    ('srdensenet_x4_esrgan_div2k', False),
    ('srdensenet_x4_srgan_div2k', True),
])
def test_both_players_take_steps(name, amp, tiny_vgg):
    torch.manual_seed(0)
    model, wrappers, cfg = build(name, amp)
    assert type(model).__name__ == cfg.model.type
    assert isinstance(model.generator, SRDenseNet)
    data, lr, gt = batch()
    for _ in range(2):
        before = copy.deepcopy(model)
        losses = model.train_step(data, wrappers)
        assert {'loss_pix', 'loss_perceptual', 'loss_gan', 'loss_d_real', 'loss_d_fake'} <= set(
            losses)
        assert all(torch.isfinite(torch.as_tensor(value)) for value in losses.values())
        with torch.no_grad():
            expected = 1e-2 * (before.generator(lr) - gt).abs().mean()
        assert losses['loss_pix'].item() == pytest.approx(
            expected.item(), rel=2e-2 if amp else 1e-4)
        assert changed(before.generator, model.generator)
        assert changed(before.discriminator, model.discriminator)
        assert not changed(before.perceptual_loss, model.perceptual_loss)
    with torch.no_grad():
        assert model(lr).shape == (2, 3, 128, 128)


def test_a_generator_step_leads_towards_the_image(tiny_vgg):
    """With the pixel loss alone, ten steps lower it: the generator's gradients are its own."""
    torch.manual_seed(0)
    model, wrappers, _ = build('srdensenet_x4_srgan_div2k')
    make_lively(model.generator)
    model.perceptual_loss = model.gan_loss = None
    model.disc_repeat = 0
    for group in wrappers['generator'].param_groups:
        group['lr'] = 3e-3
    data, _, _ = batch(32)
    losses = [model.train_step(data, wrappers)['loss_pix'].item() for _ in range(10)]
    assert losses[-1] < 0.9 * losses[0]
