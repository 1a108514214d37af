# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch

from srdensenet_mm.models.fused import linear as module
from srdensenet_mm.models.fused.linear import exact_linear, linear_relu


@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize('dtype, tolerance', [
    (torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_values(monkeypatch, packed, dtype, tolerance):
    if not packed:
        monkeypatch.setattr(module, '_can_pack', lambda weight: False)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 32, generator=generator).to(dtype)
    bias = torch.randn(48, generator=generator).to(dtype)
    layer = linear_relu(weight, bias, rows=16)
    for rows in (16, 5, 40):  # more and fewer than it was told, too
        x = torch.randn(rows, 32, generator=generator).to(dtype)
        expected = (x.double() @ weight.double().T + bias.double()).clamp(min=0)
        found = layer(x)
        assert found.dtype is dtype
        torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_nan_shows():
    layer = linear_relu(torch.eye(2), torch.zeros(2), rows=2)
    assert layer(torch.tensor([[1., float('nan')], [-1., 2.]])).isnan().any(1).tolist() == [
        True, False]


def test_nothing_private_is_needed(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    layer = linear_relu(-torch.eye(3), torch.tensor([0., 0., 5.]), rows=2)
    assert layer(torch.tensor([[1., -2., 3.]])).tolist() == [[0, 2, 2]]


@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_products_with_short_numbers_are_precise(monkeypatch, packed, dtype):
    if not packed:
        monkeypatch.setattr(module, '_can_pack', lambda weight: False)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(9, 256, generator=generator) / 16
    multiply = exact_linear(weight, dtype, rows=50)
    for rows in (50, 7):
        x = torch.randn(rows, 256, generator=generator).relu_().to(dtype)
        exact = x.double() @ weight.double().t()
        out = torch.empty(rows, 9)
        multiply(x, out)
        assert (out - exact).abs().max() < 5e-5
        if dtype is torch.bfloat16:  # What it is for.
            assert (torch.mm(x, weight.to(dtype).t()) - exact).abs().max() > 1e-3
