# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Counting memory: tensors by hand, and what a call really takes."""
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from srdensenet_mm.benchmark.peak_memory import measure_peak, run_fresh
from srdensenet_mm.inference import Upscaler, memory
from srdensenet_mm.models import SRDenseNet

SIZE = 1000 * 4  # bytes of a tensor of 1000 floats


def growing(x):
    return torch.cat([x, x]) + 1


def in_place(x):
    return (x + 1).mul_(2).relu_().view(10, 100).t()


def one_after_the_other(x):
    total = 0.
    for _ in range(5):
        total += float((x + 1).sum())
    return x * total


@pytest.mark.parametrize('function, tensors', [
    (lambda x: x + 1, 2), (growing, 5), (in_place, 2), (one_after_the_other, 2),
    (lambda x: ((x + 1) * 2 + 3) * 4, 3)],
    ids=['sum', 'growing', 'in place', 'one after the other', 'temporaries'])
def test_tensors_are_counted_while_they_live(function, tensors):
    found = memory.peak_bytes(function, torch.zeros(1000))
    assert tensors * SIZE <= found <= tensors * SIZE + 100  # and some scalars


def test_bytes_for_each_pixel():

    def twice_as_large(x):
        return F.interpolate(x, scale_factor=2)

    # Of three channels, the input's pixel and its four of the output.
    for margin in (1, 1.5):
        found = memory.TileMemory(twice_as_large, 3, margin).per_pixel()
        assert found == margin * 3 * 4 * (1 + 4)


@pytest.mark.parametrize('limit, sides', [
    (-1, [24]), (0, [24]), (15 * 4 * 48**2 - 1, [24]), (15 * 4 * 48**2, [24, 48]),
    (math.inf, [24, 48, 96])])
def test_a_trial_keeps_to_the_limit(limit, sides):
    tried = []

    def twice_as_large(x):
        tried.append(x.size(-1))
        return x.repeat(1, 1, 2, 2)

    memory.TileMemory(twice_as_large, 3).per_pixel(limit)
    assert tried == sides


@pytest.mark.parametrize('wanted, sides', [
    (2000, [24]), (3000, [24, 48]), (10000, [24, 48, 96]), (None, [24, 48, 96])])
def test_no_trial_is_larger_than_the_answer_needs(wanted, sides):
    tried = []

    def with_something_fixed(x):
        tried.append(x.size(-1))
        return x + torch.zeros(10**6).sum()

    # 4 MB in all: for 2000 pixels, even the smallest trial's 7 KB for each are few enough.
    memory.TileMemory(with_something_fixed, 1).per_pixel(16.1e6, wanted)
    assert tried == sides


def test_what_is_the_same_for_all_tiles_does_not_count_for_each_pixel():
    tried = []

    def with_something_fixed(x):
        tried.append(x.size(-1))
        return x + torch.zeros(10**6).sum()

    tiles = memory.TileMemory(with_something_fixed, 1)
    # In proportion, the last trial would be expected to take 16 MB.
    tight, loose = tiles.per_pixel(100), tiles.per_pixel(16.1e6)
    assert tried == [24, 48, 96] and tight > 15 * loose
    assert tiles.per_pixel(100) == loose  # what is known stays known


def peaks_here(limit: float, backends: list[str]) -> dict:
    """Measured peaks of calls within ``limit`` GiB, and of one without tiles, bytes.

    A network whose maps, not libraries or the image, take the memory.
    """
    torch.manual_seed(0)
    net = SRDenseNet(mid_channels=128, num_blocks=1, num_layers=1, growth_rate=4,
                     bottleneck_channels=4, upscale_factor=2)
    image = np.zeros((768, 768, 3), np.uint8)
    upscalers = {name: Upscaler(net, device='cpu', max_memory=limit, backend=name)
                 for name in backends}
    upscalers['whole'] = Upscaler(net, device='cpu', tile=0)
    for upscaler in upscalers.values():
        upscaler(image[:24, :24])
    return {name: measure_peak(lambda u=upscaler: u(image))
            for name, upscaler in upscalers.items()}


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux')
def test_a_call_stays_within_its_limit():
    backends = ['torch', *(name for name in ('onnxruntime', 'openvino')
                           if find_spec('onnx') and find_spec(name))]
    peaks = run_fresh(f'{__file__}:peaks_here', dict(limit=0.25, backends=backends), threads=1)
    assert peaks.pop('whole') > 1.5 * 0.25 * memory.GIB
    assert list(peaks) == backends and max(peaks.values()) <= 0.25 * memory.GIB, peaks
