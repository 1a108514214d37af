# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A small LIIF network on SRDenseNet whose every part shows in its output."""
import torch
from lively_weights import make_lively
from mmengine.registry import DefaultScope

from srdensenet_mm.models import LIIFSRDenseNet

ENCODER = dict(type='SRDenseNet', mid_channels=6, num_blocks=2, num_layers=2, growth_rate=4,
               bottleneck_channels=8)
IMNET = dict(type='MLPRefiner', out_dim=1, hidden_list=[16, 16])
CONFIG = dict(type='LIIFSRDenseNet', encoder=ENCODER, imnet=IMNET, eval_bsize=500)


def small_liif(channels=1, **kwargs):
    torch.manual_seed(0)
    encoder = dict(ENCODER, in_channels=channels, out_channels=channels)
    with DefaultScope.overwrite_default_scope('mmagic'):
        net = LIIFSRDenseNet(encoder, dict(IMNET, out_dim=channels),
                             **{'eval_bsize': 500, **kwargs})
    make_lively(net)
    # Values of an image.
    with torch.no_grad():
        last = net.imnet.layers[-1]
        last.weight.mul_(2)
        last.bias.fill_(0.5)
    return net.eval()
