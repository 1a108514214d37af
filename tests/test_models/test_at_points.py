# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch
from mmagic.utils import make_coord
from small_liif import small_liif

from srdensenet_mm.models.at_points import (
    AtPoints,
    UpscaledBy,
    output_points,
    output_size,
    self_ensemble_at_points,
    upscale_to,
)


@pytest.mark.parametrize('size', [(18, 14), (9, 7), (25, 19), (31, 40)])
def test_a_whole_image_is_mmagics_grid(size):
    net, x = small_liif(), torch.rand(2, 1, 9, 7)
    coord = make_coord(size).expand(2, -1, -1)
    cell = torch.tensor([2 / size[0], 2 / size[1]]).expand_as(coord)
    with torch.no_grad():
        expected = net(x, coord, cell)[..., 0].view(2, 1, *size)
        found = upscale_to(AtPoints(net), x, size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_points_at_x3():
    assert output_points(2, 6).tolist() == pytest.approx([-1 / 3, 0, 1 / 3, 2 / 3, 1, 4 / 3])
    assert output_points(1000, 3000)[1::3].tolist() == list(range(1000))


@pytest.mark.parametrize('scale', [1, 1.3, 2.7, 3.14159])
def test_sizes(scale):
    x = torch.rand(1, 1, 11, 5)
    with torch.no_grad():
        out = UpscaledBy(AtPoints(small_liif()), scale)(x)
    assert out.shape[-2:] == (round(11 * scale), round(5 * scale))
    assert output_size(1, 1, 1.2) == (1, 1)


def test_self_ensemble_is_the_mean_of_the_turned():
    net = AtPoints(small_liif())
    x, size = torch.rand(1, 1, 8, 6), (19, 17)
    with torch.no_grad():
        found = upscale_to(self_ensemble_at_points(net), x, size)
        expected = []
        for k in range(4):
            for flipped in (False, True):
                turned = torch.rot90(x.flip(-1) if flipped else x, k, (-2, -1))
                out = upscale_to(net, turned, size if k % 2 == 0 else size[::-1])
                out = torch.rot90(out, -k, (-2, -1))
                expected.append(out.flip(-1) if flipped else out)
    expected = torch.stack(expected)
    assert expected.std(dim=0).max() > 0.01
    torch.testing.assert_close(found, expected.mean(0), rtol=0, atol=2e-5)
