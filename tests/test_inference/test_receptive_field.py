# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""How far networks look, against a pixel that spoils all that it touches."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srdensenet_mm.inference.receptive_field import receptive_field
from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=4, num_blocks=2, num_layers=3, growth_rate=2, bottleneck_channels=4)


def touched(net, channels, scale, axis):
    """LR pixels to either side that a NaN in the middle spreads to."""
    shape = [1, channels, 65, 65]
    inputs = torch.zeros(shape)
    inputs[..., 32, 32] = float('nan')
    with torch.no_grad():
        out = net(inputs).isnan().any(1)[0]
    hit = out.any(1 - axis).nonzero().flatten() // scale - 32
    return int(hit.abs().max())


@pytest.mark.parametrize('deconv_kernel', [2, 3])
@pytest.mark.parametrize('scale', [2, 3, 4, 8])
def test_receptive_field_of_srdensenet(scale, deconv_kernel):
    for level in ('all', 'hl', 'h'):
        net = SRDenseNet(
            upscale_factor=scale, deconv_kernel=deconv_kernel, feature_level=level, **SMALL).eval()
        # The probe must find every way through: no dead ReLU.
        for parameter in net.parameters():
            nn.init.uniform_(parameter, 0.1, 1)
        found = receptive_field(net, 1, scale)
        assert found == touched(net, 1, scale, 0) == touched(net, 1, scale, 1)


def test_default_network():
    assert receptive_field(SRDenseNet()) == 66
    assert receptive_field(SRDenseNet(deconv_kernel=3)) == 66


class Resize(nn.Module):
    """Interpolates after some convolutions."""

    def __init__(self, mode, *convs):
        super().__init__()
        self.mode, self.convs = mode, nn.Sequential(*convs)

    def forward(self, x):
        kwargs = {} if self.mode == 'nearest' else dict(align_corners=False)
        return F.interpolate(self.convs(x), scale_factor=2, mode=self.mode, **kwargs)


class Beside(nn.Module):
    """Looks to one side alone, far, and at nothing between."""

    def __init__(self, rows, cols):
        super().__init__()
        self.shift = (rows, cols)

    def forward(self, x):
        seen = F.pad(x, (self.shift[1], 0, self.shift[0], 0))[..., :x.size(-2), :x.size(-1)]
        return F.interpolate(x + seen, scale_factor=2)


class GloballyScaled(Resize):

    def forward(self, x):
        return super().forward(x * x.mean((-2, -1), keepdim=True))


class InWindows(Resize):
    """Each window of 8 pixels is flipped by itself."""

    def forward(self, x):
        pad = -x.size(-1) % 8
        wide = F.pad(x, (0, pad)).unflatten(-1, (-1, 8)).flip(-1).flatten(-2)
        return super().forward(wide[..., :x.size(-1)])


@pytest.mark.parametrize('net, expected', [
    (Resize('nearest'), 0),
    (Resize('bilinear'), 1),
    (Resize('bicubic'), 2),
    (Resize('nearest', nn.Conv2d(3, 3, 5, padding=2)), 2),
    (Resize('nearest', *(nn.Conv2d(3, 3, 3, padding=8, dilation=8) for _ in range(9))), 72),
    (Resize('nearest', *(nn.Conv2d(3, 3, 3, padding=60, dilation=60) for _ in range(7))), None),
    (Beside(0, 40), 40),
    (Beside(90, 0), 90),
    (GloballyScaled('nearest'), None),
    (InWindows('nearest'), None),
], ids=['nearest', 'bilinear', 'bicubic', 'conv', 'dilated', 'too far', 'to the left', 'up',
        'global', 'windows'])
def test_other_networks_are_probed(net, expected):
    torch.manual_seed(0)
    assert receptive_field(net.eval(), 3, 2) == expected


def test_a_replaced_part_is_probed():
    net = SRDenseNet(**SMALL, upscale_factor=2).eval()
    net.upsampler = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 5, padding=2))
    net.upsampler.out_channels = 4
    # Seven convolutions, then three pixels of half the size.
    assert receptive_field(net, 1, 2) == 7 + 2
