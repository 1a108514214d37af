# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What a new network does before any training."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from torch import nn

from srdensenet_mm.datasets import matlab_bicubic
from srdensenet_mm.models import DenseBlock, SRDenseNet
from srdensenet_mm.models.colour import rgb_to_y
from srdensenet_mm.models.initialization import he_normal

SMALL = dict(mid_channels=16, num_blocks=2, num_layers=3, growth_rate=8, bottleneck_channels=24)
HR = Path(__file__).parents[1] / 'data/Set5/HR'


def _images(scale):
    for path in sorted(HR.glob('*.png')):
        image = cv2.imread(str(path))[..., ::-1]
        height, width = (side // 24 * 24 for side in image.shape[:2])
        image = np.ascontiguousarray(image[:height, :width])
        yield [torch.from_numpy(one).permute(2, 0, 1)[None].float()
               for one in (matlab_bicubic(image, scale), image)]


def _score(net, scale, channels):
    """PSNR on Y on Set5, dB."""
    found = []
    for low, high in _images(scale):
        with torch.no_grad():
            if channels == 1:
                y = net(rgb_to_y(low) / 255) * 255
            else:
                y = rgb_to_y(net(low / 255).clamp(0, 1) * 255)
        error = (y - rgb_to_y(high))[..., scale:-scale, scale:-scale] / 255
        found.append(-10 * np.log10(float(error.square().mean())))
    return np.mean(found)


# Bicubic interpolation: 33.7, 30.4, 28.4 and 24.4.
@pytest.mark.parametrize('scale, least', [(2, 31), (3, 28), (4, 26.5), (8, 22.5)])
@pytest.mark.parametrize('kwargs', [
    dict(), dict(feature_level='hl'), dict(feature_level='h', deconv_kernel=3),
    dict(in_channels=3, out_channels=3, bottleneck_act=True),
    dict(in_channels=3, out_channels=3, feature_level='h')], ids=str)
def test_a_new_network_upscales(scale, least, kwargs):
    torch.manual_seed(0)
    net = SRDenseNet(upscale_factor=scale, **SMALL, **kwargs)
    assert _score(net, scale, kwargs.get('in_channels', 1)) > least


def test_the_default_network_upscales_and_is_alive():
    torch.manual_seed(0)
    net = SRDenseNet()
    assert _score(net, 4, 1) > 26.5
    low, high = next(_images(4))
    outputs = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, args, out: outputs.append(out))
    F.l1_loss(net(rgb_to_y(low) / 255), rgb_to_y(high) / 255).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    for out in outputs:
        assert 0.05 < out.std() < 5
        assert (out > 0).any(3).any(2).float().mean() > 0.95


def test_he_normal():
    torch.manual_seed(0)
    for layer, inputs in (
            (nn.Conv2d(64, 64, 3), 64 * 9), (nn.ConvTranspose2d(256, 64, 2, 2), 256),
            (nn.ConvTranspose2d(256, 64, 3, 2, 1, 1), 256 * 9 / 4)):
        he_normal(layer)
        assert layer.weight.std().item() == pytest.approx((2 / inputs)**0.5, rel=0.02)
        assert not layer.bias.any()


@pytest.mark.parametrize('kwargs', [
    dict(in_channels=3, out_channels=1), dict(in_channels=1, out_channels=3)], ids=str)
def test_other_channels_than_the_images(kwargs):
    torch.manual_seed(0)
    out = SRDenseNet(**SMALL, **kwargs)(torch.full((1, kwargs['in_channels'], 9, 9), 0.5))
    assert out.size(1) == kwargs['out_channels']
    assert ((out[..., 8:-8, 8:-8] - 0.5).abs() < 0.1).all()


def test_fewer_maps_than_an_image_has_channels():
    for kwargs in (dict(mid_channels=2), dict(bottleneck_channels=1),
                   dict(growth_rate=1, feature_level='h')):
        net = SRDenseNet(3, 3, **dict(SMALL, **kwargs))
        assert net(torch.rand(1, 3, 4, 4)).isfinite().all()


@pytest.mark.parametrize('feature_level', ['all', 'h'])
def test_replaced_parts_keep_their_weights(feature_level):

    class Block(DenseBlock):

        def __init__(self, in_channels, num_layers, growth_rate):
            super().__init__(in_channels, num_layers, growth_rate)
            for parameter in self.parameters():
                nn.init.constant_(parameter, 0.01)

    class Upsampler(nn.Sequential):

        def __init__(self, in_channels):
            super().__init__(nn.Conv2d(in_channels, 16 * in_channels, 1), nn.PixelShuffle(4))
            nn.init.constant_(self[0].weight, 0.02)

    net = SRDenseNet(**SMALL, feature_level=feature_level, dense_block=dict(type=Block),
                     upsampler=dict(type=Upsampler))
    assert all((parameter == 0.01).all() for parameter in net.blocks.parameters())
    assert (net.upsampler[0].weight == 0.02).all()
    assert net(torch.rand(1, 1, 4, 4)).shape == (1, 1, 16, 16)


def test_a_configs_own_initialization_wins():
    net = MODELS.build(dict(type='SRDenseNet', **SMALL, init_cfg=dict(
        type='Constant', layer=['Conv2d', 'ConvTranspose2d'], val=0.5, bias=0.25)))
    net.init_weights()
    for name, parameter in net.named_parameters():
        assert (parameter == (0.25 if name.endswith('bias') else 0.5)).all()
