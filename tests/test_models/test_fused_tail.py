# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch

from srdensenet_mm.models.fused.tail import _product_with


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_products_with_short_numbers_are_precise(dtype):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(50, 256, generator=generator).relu_().to(dtype)
    taps = torch.randn(256, 9, generator=generator) / 16
    exact = pixels.double() @ taps.double()
    out = torch.empty(50, 9)
    _product_with(taps, pixels)(pixels, out)
    assert (out - exact).abs().max() < 5e-5
    if dtype is torch.bfloat16:  # What it is for.
        assert (torch.mm(pixels, taps.to(dtype)) - exact).abs().max() > 1e-3
