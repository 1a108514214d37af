# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import numpy as np
import torch
import torch.nn.functional as F
from rounding import assert_same_sums, terms

from srdensenet_mm.inference import self_ensemble
from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=4, num_blocks=2, num_layers=2, growth_rate=2, bottleneck_channels=4)


@torch.no_grad()
def test_average_of_eight():
    torch.manual_seed(0)
    net = SRDenseNet(upscale_factor=3, **SMALL).eval()
    inputs = torch.rand(2, 1, 7, 10)
    # By numpy, with the transposition instead of rotations.
    total = np.zeros((2, 1, 21, 30))
    image = inputs.numpy()
    for transpose in (False, True):
        for rows in (1, -1):
            for cols in (1, -1):
                seen = image[..., ::rows, ::cols]
                seen = seen.swapaxes(-1, -2) if transpose else seen
                out = net(torch.from_numpy(seen.copy())).numpy()
                out = out.swapaxes(-1, -2) if transpose else out
                total += out[..., ::rows, ::cols] / 8
    found = self_ensemble(net)(inputs)
    assert found.shape == (2, 1, 21, 30)
    assert_same_sums(found, total.astype(np.float32), terms(net))
    assert not np.allclose(net(inputs).numpy(), total, atol=1e-3)


@torch.no_grad()
def test_flipped_images_give_flipped_results():
    torch.manual_seed(0)
    net = SRDenseNet(upscale_factor=2, **SMALL).eval()
    both = self_ensemble(net)
    inputs = torch.rand(1, 1, 6, 9)
    expected = both(inputs)
    for found in (both(inputs.flip(-1)).flip(-1), both(inputs.mT).mT,
                  torch.rot90(both(torch.rot90(inputs, 1, (-2, -1))), -1, (-2, -1))):
        assert_same_sums(found, expected, terms(net))


@torch.no_grad()
def test_a_function_that_knows_no_direction_stays():

    def nearest(inputs):
        return F.interpolate(inputs, scale_factor=2)

    inputs = torch.rand(1, 3, 5, 4)
    assert_same_sums(self_ensemble(nearest)(inputs), nearest(inputs), 8)
