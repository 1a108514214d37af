# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import copy

import pytest
import torch
from rounding import assert_same_sums, terms
from torch import nn

from srdensenet_mm.backends.autocast import Autocast
from srdensenet_mm.models import SRDenseNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SRDenseNet(
        mid_channels=16, num_blocks=2, num_layers=3, growth_rate=8, bottleneck_channels=16).eval()


@torch.no_grad()
def test_bf16_loses_less_than_a_converted_network(network):
    inputs = torch.rand(4, 1, 24, 20)
    exact = network(inputs)
    ours = Autocast(network, 'bf16')(inputs)
    converted = copy.deepcopy(network).bfloat16()(inputs.bfloat16()).float()
    error, error_converted = ((out - exact).square().mean().sqrt() for out in (ours, converted))
    assert ours.dtype is torch.float32
    assert 0 < error < error_converted


@pytest.mark.parametrize('deconv_kernel', [2, 3])
@torch.no_grad()
def test_bf16_keeps_the_digits_of_input_and_last_sums(deconv_kernel):
    # 1x1 paths alone: the output is the input, times one, plus a half.
    network = SRDenseNet(
        upscale_factor=2, mid_channels=1, num_blocks=1, num_layers=1, growth_rate=1,
        bottleneck_channels=1, deconv_kernel=deconv_kernel).eval()
    for parameter in network.parameters():
        parameter.zero_()
    for conv in (network.conv_first, network.blocks[0].layers[0], network.conv_last):
        conv.weight[0, 0, 1, 1] = 1
    network.bottleneck.weight[0, 0] = 1
    for deconv in network.upsampler.deconvs:
        # Of an overlapping one, what gives each pixel one share.
        deconv.weight[..., -2:, -2:] = 1
    network.conv_last.bias.fill_(1 / 3)  # no number of bf16
    # 8 bits hold this one: what is added at the end must not be rounded with it.
    out = Autocast(network, 'bf16')(torch.full((1, 1, 4, 4), 0.75))
    assert_same_sums(out, torch.full_like(out, 0.75 + 1 / 3), terms(network))


@torch.no_grad()
def test_fp32_is_the_network_itself(network):
    inputs = torch.rand(2, 1, 9, 7)
    assert torch.equal(Autocast(network, 'fp32')(inputs), network(inputs))


@torch.no_grad()
def test_foreign_networks_compute_in_bf16():
    network = nn.Conv2d(1, 1, 3)
    out = Autocast(network, 'bf16')(inputs := torch.rand(1, 1, 8, 8))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(out, network(inputs).float())


def test_the_network_is_copied(network):
    wrapped = Autocast(network, 'bf16')
    nn.init.zeros_(network.conv_first.weight)
    assert wrapped.network.conv_first.weight.abs().max() > 0
