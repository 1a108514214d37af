# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""studies/overlap.py on a small network."""

import cv2
import numpy as np
import overlap
import pytest
import torch

from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import SRDenseNet


def test_a_tile_of_nothing(capsys):
    with pytest.raises(SystemExit):
        overlap.parse_args(['net.pth', 'a.png', '--tile', '0'])
    assert '--tile 0: give at least 1' in capsys.readouterr().err


def test_errors_shrink_and_end_at_the_receptive_field(tmp_path):
    torch.manual_seed(0)
    net = SRDenseNet(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=3,
                     bottleneck_channels=6, upscale_factor=2).eval()
    with torch.no_grad():
        net.conv_last.weight /= 6 * net(torch.rand(1, 1, 24, 24)).std()
        net.conv_last.bias.fill_(0.5)
    save_network(net, tmp_path / 'net.pth')
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    none, two, receptive_field = overlap.measure(overlap.parse_args(
        [str(tmp_path / 'net.pth'), str(tmp_path / 'a.png'), '--overlaps', '0', '2',
         '--tile', '5']))
    assert [none['overlap'], two['overlap'], receptive_field['overlap']] == [0, 2, 6]
    # The same of images of 8 bits, to their rounding.
    found, whole = (Upscaler(net, **kwargs)(image).astype(int)
                    for kwargs in (dict(tile=5, overlap=0), dict(tile=0)))
    assert abs(none['largest'] - np.abs(found - whole).max()) <= 1
    assert none['mean'] > two['mean'] > receptive_field['mean']
    assert receptive_field['largest'] <= 1.01 / 257 and receptive_field['changed'] == 0
    assert receptive_field['tiles'] > 1
    assert none['tiles'] == 4 * 7 and none['computed'] >= 1
