# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch

from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=16, num_blocks=2, num_layers=2, growth_rate=8, bottleneck_channels=16)


@pytest.fixture
def make_checkpoint(tmp_path):
    """Writes a network with random weights whose output looks like an image's values."""

    def make(name='net.pth', **kwargs):
        torch.manual_seed(0)
        net = SRDenseNet(**{**SMALL, **kwargs}).eval()
        with torch.no_grad():
            out = net(torch.rand(1, net.conv_first.in_channels, 24, 24))
            net.conv_last.weight /= 12 * out.std()
            net.conv_last.bias.fill_(0.5)
        save_network(net, tmp_path / name)
        return tmp_path / name

    return make
