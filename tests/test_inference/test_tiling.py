# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Tiles against the whole image."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_same_sums, terms

from srdensenet_mm.inference.receptive_field import receptive_field
from srdensenet_mm.inference.tiling import (
    cheapest_grid,
    fixed_grid,
    run_tiles,
    split_axis,
    whole_grid,
)
from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=3, bottleneck_channels=6)
SIZES = [(27, 31), (1, 43), (43, 1), (1, 1), (30, 5)]


def network(**kwargs):
    torch.manual_seed(1)
    net = SRDenseNet(**{**SMALL, **kwargs}).eval()
    # With zero biases, what a convolution pads with would go unnoticed.
    for name, parameter in net.named_parameters():
        if name.endswith('bias'):
            torch.nn.init.normal_(parameter, std=0.3)
    return net


def image(height, width, channels=1, n=1):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(n, channels, height, width, generator=generator)


def tiled(function, inputs, grid, scale, batch_size=1):
    """Images put together from tiles, one after the other."""
    height, width = inputs.shape[-2:]
    whole = []
    for one in inputs.split(1):
        out = None
        for row, col, part in run_tiles(
                function, grid, scale, lambda rows, cols, one=one: one[..., rows, cols],
                batch_size):
            if out is None:
                out = part.new_full(
                    (1, part.size(1), scale * height, scale * width), float('nan'))
            out[..., scale * row.keep_start:scale * row.keep_stop,
                scale * col.keep_start:scale * col.keep_stop] = part
        whole.append(out)
    return torch.cat(whole)


@pytest.mark.parametrize('deconv_kernel', [2, 3])
@pytest.mark.parametrize('feature_level', ['all', 'hl', 'h'])
@pytest.mark.parametrize('scale', [2, 3, 4, 8])
@torch.no_grad()
def test_tiles_make_the_whole_image(scale, feature_level, deconv_kernel):
    net = network(
        upscale_factor=scale, feature_level=feature_level, deconv_kernel=deconv_kernel)
    overlap = receptive_field(net)
    for height, width in SIZES:
        inputs = image(height, width)
        whole = net(inputs)
        for tile, batch in ((5, 1), (8, 3)):
            grid = fixed_grid(height, width, tile, overlap)
            assert_same_sums(tiled(net, inputs, grid, scale, batch), whole, terms(net))
        smallest = min(height, 2 * overlap + 3) * min(width, 2 * overlap + 3)
        grid = cheapest_grid(height, width, overlap, smallest)
        assert_same_sums(tiled(net, inputs, grid, scale, 2), whole, terms(net))


@torch.no_grad()
def test_colour_and_several_images():
    net = network(in_channels=3, out_channels=3, upscale_factor=2)
    inputs = image(33, 45, channels=3, n=2)
    grid = fixed_grid(33, 45, 6, receptive_field(net))
    assert len(grid) > 9
    assert_same_sums(tiled(net, inputs, grid, 2, 4), net(inputs), terms(net))


@torch.no_grad()
def test_the_default_network():
    torch.manual_seed(0)
    net = SRDenseNet(upscale_factor=2).eval()
    overlap = receptive_field(net)
    assert overlap == 66
    inputs = image(3, 2 * overlap + 12)
    grid = fixed_grid(3, 2 * overlap + 12, 4, overlap)
    assert len(grid) == 3
    assert_same_sums(tiled(net, inputs, grid, 2), net(inputs), terms(net))


@torch.no_grad()
def test_one_pixel_less_overlap_is_not_exact():
    for kernel in (2, 3):
        net = network(deconv_kernel=kernel, upscale_factor=2).double()
        overlap = receptive_field(net)
        inputs = image(12, 61).double()
        whole = net(inputs)
        exact, less = (
            (tiled(net, inputs, fixed_grid(12, 61, 5, size), 2) - whole).abs().max()
            for size in (overlap, overlap - 1))
        assert exact < 1e-13 < 1e-9 < less


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 300), count=st.integers(1, 40), overlap=st.integers(0, 70))
def test_spans_keep_every_pixel_once_with_its_margin(length, count, overlap):
    spans = split_axis(length, count, overlap)
    assert len(spans) <= count
    kept = [i for span in spans for i in range(span.keep_start, span.keep_stop)]
    assert kept == list(range(length))
    for span in spans:
        assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
        assert span.start == 0 or span.keep_start - span.start >= overlap
        assert span.stop == length or span.stop - span.keep_stop >= overlap
    assert len({span.stop - span.start for span in spans}) == 1


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 30), width=st.integers(1, 30), overlap=st.integers(0, 8),
       max_pixels=st.integers(1, 700))
def test_no_other_grid_is_cheaper(height, width, overlap, max_pixels):
    found = cheapest_grid(height, width, overlap, max_pixels)
    costs = []
    for rows in range(1, height + 1):
        for columns in range(1, width + 1):
            tile_rows, tile_columns = (
                split_axis(height, rows, overlap), split_axis(width, columns, overlap))
            size = ((tile_rows[0].stop - tile_rows[0].start)
                    * (tile_columns[0].stop - tile_columns[0].start))
            if size <= max_pixels:
                costs.append(size * len(tile_rows) * len(tile_columns))
    if found is None:
        assert not costs
    else:
        tile_height, tile_width = found.tile_shape
        assert tile_height * tile_width <= max_pixels
        assert found.pixels_read == len(found) * tile_height * tile_width
        # Rounding up makes tiles up to one column wider than they need be.
        assert found.pixels_read <= min(costs) + len(found) * tile_height


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200), tile=st.integers(1, 64),
       overlap=st.integers(0, 20))
def test_tiles_of_a_given_size_are_no_larger(height, width, tile, overlap):
    grid = fixed_grid(height, width, tile, overlap)
    assert max(grid.tile_shape) <= tile + 2 * overlap
    assert len(grid) == len(grid.tiles())


def test_grid_of_the_whole():
    grid = whole_grid(5, 9)
    assert len(grid) == 1 and grid.tile_shape == (5, 9) and grid.pixels_read == 45
    assert cheapest_grid(5, 9, 3, 45) == grid


def test_tiles_go_through_in_batches():
    shapes = []

    def double(batch):
        shapes.append(tuple(batch.shape))
        return batch.repeat_interleave(2, -1).repeat_interleave(2, -2)

    inputs = image(10, 30)
    grid = fixed_grid(10, 30, 6, 1)
    parts = list(run_tiles(double, grid, 2, lambda rows, cols: inputs[..., rows, cols], 4))
    assert len(parts) == len(grid) == 10
    assert [shape[0] for shape in shapes] == [4, 4, 2]
    assert len({shape[1:] for shape in shapes}) == 1
    assert sum(part.numel() for _, _, part in parts) == 4 * inputs.numel()
