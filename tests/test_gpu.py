# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The paths that only a GPU takes, against the CPU's results."""
import copy

import numpy as np
import pytest
import torch
from small_models import write_checkpoint, write_config  # noqa: E402

from srdensenet_mm.benchmark.entries import Spec, build
from srdensenet_mm.benchmark.timing import time_interleaved, torch_call
from srdensenet_mm.engine import AutocastOptimWrapper, MuonWithAdam
from srdensenet_mm.engine.runner.graphed_loop import GraphedStep
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import LumaEditModel, SRDenseNet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


def small_network():
    torch.manual_seed(0)
    return SRDenseNet(mid_channels=16, num_blocks=2, num_layers=3, growth_rate=8,
                      bottleneck_channels=16)


@pytest.mark.parametrize('dtype, levels', [('fp32', 1), ('bf16', 8), ('fp16', 4)])
def test_an_image_as_on_the_cpu(dtype, levels):
    network = small_network()
    torch.nn.init.normal_(network.conv_last.weight, std=0.01)
    torch.nn.init.constant_(network.conv_last.bias, 0.5)
    image = np.random.default_rng(0).integers(0, 256, (150, 170, 3), dtype=np.uint8)
    expected = Upscaler(network, device='cpu')(image).astype(int)
    for tile in (None, 80):
        found = Upscaler(network, device='cuda', dtype=dtype, tile=tile)(image)
        assert np.abs(found - expected).max() <= levels
    assert next(network.parameters()).device.type == 'cpu'


@pytest.mark.parametrize('dtype', ['fp32', 'bf16', 'fp16'])
def test_a_training_learns(dtype):
    network = small_network().cuda()
    wrapper = AutocastOptimWrapper(
        dtype=dtype, optimizer=MuonWithAdam(network.parameters(), lr=1e-3),
        clip_grad=dict(max_norm=1))
    low = torch.rand(4, 1, 12, 12, device='cuda')
    high = torch.nn.functional.interpolate(low, scale_factor=4)
    losses = []
    for _ in range(40):
        with wrapper.optim_context(network):
            loss = torch.nn.functional.l1_loss(network(low).float(), high)
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_gradients_as_on_the_cpu():
    network = small_network()
    low = torch.rand(2, 1, 9, 11)
    found = []
    for device in ('cpu', 'cuda'):
        one = copy.deepcopy(network).to(device)
        one(low.to(device)).square().mean().backward()
        found.append([p.grad.cpu() for p in one.parameters()])
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=2e-2, atol=2e-2 * float(cpu.abs().max()))


@pytest.mark.parametrize('compiled', [False, True])
def test_a_captured_step_is_a_step(monkeypatch, compiled):
    generator = torch.Generator().manual_seed(1)
    batch = [torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=generator)
             for side in (12, 48)]
    batch = [tensor.cuda() for tensor in batch]
    found = []
    for captured in (True, False):
        torch.manual_seed(0)
        model = LumaEditModel(
            dict(type='SRDenseNet', mid_channels=16, num_blocks=2, num_layers=3,
                 bottleneck_channels=16),
            dict(type='L1Loss')).cuda()
        wrapper = AutocastOptimWrapper(
            dtype='fp32', optimizer=MuonWithAdam(model.parameters(), lr=1e-3),
            clip_grad=dict(max_norm=1))
        if captured and compiled:
            model.forward_train = torch.compile(model.forward_train)
        with monkeypatch.context() as patch:
            if not captured:
                patch.setattr(GraphedStep, '_capture', lambda self: None)
            step = GraphedStep(model, wrapper, lambda: batch)
        assert (step.graph is not None) == captured
        losses = []
        for _ in range(6):
            losses.append(step(2)['loss'].item())
            # As a scheduler does, between replays.
            wrapper.optimizer.param_groups[0]['lr'] *= 0.7
        found.append(losses)
    # TF32 and sums in another order add up over the steps.
    assert found[0] == pytest.approx(found[1], rel=1e-2)
    assert found[0][-1] < found[0][0]


@pytest.mark.parametrize('backend', ['torch', 'torch:bf16', 'torch:fp16'])
def test_a_benchmark_runs_there(tmp_path, backend):
    config, weights = write_config(tmp_path / 'small.py'), write_checkpoint(tmp_path / 'small.pth')
    entry = build(Spec('small', str(config), str(weights), backend), 'cuda')
    assert {p.device.type for p in entry.model.parameters()} == {'cuda'}
    rgb = torch.rand(1, 3, 20, 26, device='cuda')
    assert entry.upscale(rgb).device.type == 'cuda'
    seconds = time_interleaved({'one': torch_call(entry, (20, 26))}, 2, 'cuda')
    assert min(seconds['one']) > 0
