# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch
from rounding import assert_same_sums, terms
from torch import nn

from srdensenet_mm.models import SRDenseNet

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from srdensenet_mm.backends.agreement import make_session  # noqa: E402
from srdensenet_mm.backends.onnx_graph import INPUT, to_onnx  # noqa: E402
from srdensenet_mm.backends.split_input import in_parts, split_input  # noqa: E402


def run(model, inputs):
    return torch.from_numpy(make_session(model).run(None, {INPUT: inputs.numpy()})[0])


def rounded(inputs):
    return inputs.bfloat16().float()


@pytest.mark.parametrize('channels', [1, 3])
def test_parts_keep_what_rounding_the_image_would_lose(channels):
    torch.manual_seed(0)
    net = SRDenseNet(
        channels, channels, 2, mid_channels=8, num_blocks=1, num_layers=2, growth_rate=4,
        bottleneck_channels=8).eval()
    model = to_onnx(net)
    split = split_input(model)
    image = torch.rand(2, channels, 9, 12)
    exact = run(model, image)
    assert_same_sums(run(split, in_parts(image)), exact, terms(net))
    lost = (run(model, rounded(image)) - exact).abs().max()
    kept = (run(split, rounded(in_parts(image))) - exact).abs().max()
    assert 0 < kept < lost / 100


def test_two_convolutions_may_read_the_image():

    class Two(nn.Module):

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 1)

        def forward(self, x):
            return self.a(x) * self.b(x)

    two = Two().eval()
    model = to_onnx(two)
    image = torch.rand(1, 1, 6, 5)
    assert_same_sums(
        run(split_input(model), in_parts(image)), run(model, image), terms(two))


class Twice(nn.Module):
    """Its first convolution's kernel serves once more."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x))


class Residual(nn.Module):

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(x) + x


@pytest.mark.parametrize('net', [
    nn.Sequential(nn.ReLU(), nn.Conv2d(1, 4, 3)), nn.Conv2d(2, 4, 3, groups=2), Twice(),
    Residual()], ids=['relu', 'groups', 'twice', 'residual'])
def test_what_cannot_be_split(net):
    assert split_input(to_onnx(net.eval())) is None


def test_parts_add_up():
    image = torch.rand(1, 2, 4, 4)
    parts = in_parts(image)
    assert torch.equal(parts[:, :2] + parts[:, 2:], image)
    assert (rounded(parts).unflatten(1, (2, 2)).sum(1) - image).abs().max() <= 2**-17
