# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import copy
import math
from types import SimpleNamespace

import pytest
import torch
from mmagic.registry import OPTIMIZERS
from mmengine.registry import DefaultScope
from torch import nn

from srdensenet_mm.engine import CentreInputsHook, MuonWithAdam
from srdensenet_mm.engine.optimizers.muon import is_kernel, orthogonalize
from srdensenet_mm.models import SRDenseNet


def same_directions(made, expected):
    # Each iteration makes small directions up to 3.4 times as large, and their roundings too:
    # five of them nearly 500 times.
    return (made - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize('shape', [(16, 16), (16, 144), (144, 16), (130, 200)])
def test_directions_become_equal(shape):
    generator = torch.Generator().manual_seed(0)
    made, = orthogonalize([torch.randn(shape, generator=generator)])
    values = torch.linalg.svdvals(made)
    assert made.shape == shape and made.dtype is torch.float32
    assert values.min() > 0.5 and values.max() < 1.35


def test_matrices_go_together_as_alone():
    generator = torch.Generator().manual_seed(4)
    matrices = [torch.randn(shape, generator=generator)
                for shape in [(16, 144), (130, 140), (16, 300), (140, 130), (144, 16)]]
    matrices[0] *= 1e3  # Each has a size of its own.
    together = orthogonalize(matrices)
    for matrix, made in zip(matrices, together, strict=True):
        assert made.shape == matrix.shape
        assert same_directions(made, orthogonalize([matrix])[0])


@pytest.mark.parametrize('shape, digits', [((16, 144), 3), ((16, 1000), 2), ((100, 64), 4)])
def test_as_newton_schulz_on_the_matrix_itself(shape, digits):
    generator = torch.Generator().manual_seed(5)
    u, values, vh = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    # As uneven as gradients are.
    matrix = u @ torch.diag(10**-torch.linspace(0, digits, len(values))) @ vh
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.mT) @ x + 2.0315 * (x @ x.mT) @ (x @ x.mT) @ x
    made, = orthogonalize([matrix])
    assert same_directions(made, x)


@pytest.mark.parametrize('steps', [5, 6])
def test_what_has_no_gradient_does_not_grow(steps):
    generator = torch.Generator().manual_seed(7)
    column, row = torch.randn(32, 1, generator=generator), torch.randn(1, 2000, generator=generator)
    values = torch.linalg.svdvals(orthogonalize([column @ row], steps)[0])
    assert 0.6 < values[0] < 1.2 and values[1] < 1e-3


def test_a_kernel_moves_alike_in_every_memory_format():
    generator = torch.Generator().manual_seed(6)
    start, gradient = torch.randn(2, 16, 8, 3, 3, generator=generator)
    moved = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        kernel = start.clone(memory_format=memory_format).requires_grad_()
        optimizer = MuonWithAdam([kernel], lr=0.1)
        for scale in (1, 3):
            kernel.grad = (scale * gradient + start).clone(memory_format=memory_format)
            optimizer.step()
        assert kernel.is_contiguous(memory_format=memory_format)
        moved.append(kernel.detach())
    assert same_directions(*(kernel - start for kernel in moved))


def test_left_and_right_directions_stay():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(20, 48, generator=generator)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.t() @ orthogonalize([matrix])[0] @ vh.t()
    # Diagonal in the matrix' own directions, as the polar factor u @ vh is.
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-4


def test_kernels_are_muons_and_the_rest_adams():
    network = SRDenseNet(mid_channels=16, num_blocks=1, num_layers=2, bottleneck_channels=16)
    by_muon = {name for name, parameter in network.named_parameters() if is_kernel(parameter)}
    assert by_muon == {
        'blocks.0.layers.0.weight', 'blocks.0.layers.1.weight', 'bottleneck.weight',
        'upsampler.deconvs.0.weight', 'upsampler.deconvs.1.weight'}


def test_the_rest_moves_as_under_torchs_adam():
    parameters = [torch.zeros(7, requires_grad=True) for _ in range(2)]
    ours = MuonWithAdam(parameters[:1], lr=0.1, betas=(0.8, 0.9))
    torchs = torch.optim.Adam(parameters[1:], lr=0.1, betas=(0.8, 0.9))
    for i in range(5):
        for parameter, optimizer in zip(parameters, (ours, torchs), strict=True):
            parameter.grad = torch.sin(torch.arange(7.) + i)
            optimizer.step()
    assert torch.equal(*parameters)


def test_a_kernels_first_step():
    kernel = torch.zeros(16, 4, 3, 3, requires_grad=True)
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(2))
    MuonWithAdam([kernel], lr=0.5).step()
    u, _, vh = torch.linalg.svd(kernel.grad.flatten(1), full_matrices=False)
    step = -kernel.detach().flatten(1) / (0.5 * 0.2 * math.sqrt(36))
    # Against the gradient, and about as orthonormal as Newton-Schulz gets.
    assert torch.linalg.svdvals(step - u @ vh).max() < 0.5
    assert float((kernel.detach() * kernel.grad).sum()) < 0


@pytest.mark.parametrize('given, momentum', [({}, 0.95), (dict(momentum=0.8), 0.8)])
def test_a_kernel_moves_along_nesterovs_momentum(given, momentum):
    generator = torch.Generator().manual_seed(5)
    gradients = torch.randn(2, 16, 36, generator=generator)
    kernel = torch.zeros(16, 4, 3, 3, requires_grad=True)
    optimizer = MuonWithAdam([kernel], lr=0.5, **given)
    average, expected = torch.zeros(16, 36), torch.zeros(16, 36)
    for gradient in gradients:
        kernel.grad = gradient.view_as(kernel).clone()
        optimizer.step()
        average = momentum * average + (1 - momentum) * gradient
        ahead = momentum * average + (1 - momentum) * gradient
        expected -= 0.5 * 0.2 * math.sqrt(36) * orthogonalize([ahead])[0]
        assert same_directions(kernel.detach().flatten(1), expected)


def test_the_size_of_a_step_does_not_depend_on_the_gradients():
    steps = []
    for scale in (1e-4, 1e4):
        kernel = torch.zeros(16, 16, 1, 1, requires_grad=True)
        kernel.grad = scale * torch.randn(
            kernel.shape, generator=torch.Generator().manual_seed(3))
        MuonWithAdam([kernel]).step()
        steps.append(kernel.detach())
    small, large = steps
    assert (small - large).norm() < 1e-2 * large.norm()


def test_decoupled_weight_decay():
    kernel = torch.ones(16, 16, requires_grad=True)
    kernel.grad = torch.zeros_like(kernel)
    MuonWithAdam([kernel], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(kernel, torch.full_like(kernel, 0.95))


def test_state_survives_saving():
    def train(network, optimizer, steps):
        for i in range(steps):
            generator = torch.Generator().manual_seed(i)
            optimizer.zero_grad()
            network(torch.rand(4, 16, generator=generator)).square().mean().backward()
            optimizer.step()

    torch.manual_seed(0)
    network, again = nn.Linear(16, 16), nn.Linear(16, 16)
    optimizer = MuonWithAdam(network.parameters(), lr=0.01)
    train(network, optimizer, 3)
    again.load_state_dict(network.state_dict())
    resumed = MuonWithAdam(again.parameters(), lr=1.)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in ((network, optimizer), (again, resumed)):
        train(*one, 3)
    for p, q in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)


def test_configs_find_it_by_name():
    with DefaultScope.overwrite_default_scope('mmagic'):
        built = OPTIMIZERS.build(dict(
            type='MuonWithAdam', params=nn.Linear(16, 16).parameters(), lr=3e-4))
    assert isinstance(built, MuonWithAdam) and built.param_groups[0]['lr'] == 3e-4


@pytest.mark.parametrize('name, value', [
    ('lr', -1), ('eps', float('nan')), ('weight_decay', -0.1), ('momentum', 1.),
    ('betas', (0.9, 1.5)), ('ns_steps', 7)])
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match='Invalid|ns_steps=7'):
        MuonWithAdam([torch.zeros(2, 2)], **{name: value})


def test_biases_have_their_part_of_the_rate():
    moved = []
    for part in (1., 0.1):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3))
        before = copy.deepcopy(network.state_dict())
        optimizer = MuonWithAdam(network.parameters(), lr=1e-2, bias_lr_mult=part)
        network(torch.ones(1, 1, 8, 8)).square().sum().backward()
        optimizer.step()
        moved.append({key: value - before[key] for key, value in network.state_dict().items()})
    for key, move in moved[0].items():
        torch.testing.assert_close(moved[1][key], move * (0.1 if key.endswith('bias') else 1))


def test_a_centred_kernel_steps_as_one_that_reads_centred_maps():
    """Against the layer written out as W (x - m) + b', which Muon steps as it is."""
    torch.manual_seed(0)
    x, m = torch.rand(4, 20, 9, 9) + torch.rand(20, 1, 1), 3 * torch.rand(20)
    target = torch.randn(4, 24, 7, 7)
    conv = nn.Conv2d(20, 24, 3)
    other = copy.deepcopy(conv)
    with torch.no_grad():
        other.bias += conv.weight.sum((2, 3)) @ m
    centred = MuonWithAdam(conv.parameters(), lr=1e-2, bias_lr_mult=0.1)
    centred.centre(conv.weight, conv.bias, m)
    plain = MuonWithAdam(other.parameters(), lr=1e-2, bias_lr_mult=0.1)
    for step in range(4):
        if step == 2:  # resumed
            again = MuonWithAdam(conv.parameters(), lr=1e-2, bias_lr_mult=0.1)
            again.load_state_dict(centred.state_dict())
            again.centre(conv.weight, conv.bias)
            centred = again
        for optimizer, layer, inputs in ((centred, conv, x), (plain, other, x - m[:, None, None])):
            optimizer.zero_grad()
            (layer(inputs) - target).square().mean().backward()
            optimizer.step()
        torch.testing.assert_close(conv.weight, other.weight, rtol=0, atol=1e-4)
        torch.testing.assert_close(
            conv.bias, other.bias - other.weight.sum((2, 3)) @ m, rtol=0, atol=1e-3)
    # The means are those of the last measurements.
    centred.centre(conv.weight, conv.bias, m + 1, share=0.5)
    torch.testing.assert_close(centred.state[conv.weight]['input_mean'], m + 0.5)


@pytest.mark.parametrize('level', ['all', 'hl', 'h'])
def test_the_means_are_those_of_what_convolutions_read(level):
    torch.manual_seed(1)
    network = SRDenseNet(
        upscale_factor=2, mid_channels=16, num_blocks=2, num_layers=2, growth_rate=16,
        bottleneck_channels=16, feature_level=level)
    model = nn.ModuleDict(dict(generator=network))
    model.data_preprocessor = lambda data, training: data
    optimizer = MuonWithAdam(model.parameters())
    runner = SimpleNamespace(
        model=model, iter=20, optim_wrapper=SimpleNamespace(optimizer=optimizer))
    images = [torch.rand(1, 8, 9) for _ in range(8)]
    hook = CentreInputsHook(interval=10)
    hook.before_train_iter(runner, 20, dict(inputs=images))
    x = network.conv_first(torch.stack(images)).relu()
    sources = [x]
    for block in network.blocks:
        reads = torch.cat(sources, dim=1) if level == 'all' else sources[-1]
        first = block.layers[0](reads).relu()
        for layer, maps in zip(block.layers, (reads, first), strict=True):
            torch.testing.assert_close(
                optimizer.state[layer.weight]['input_mean'], maps.mean((0, 2, 3)))
        sources.append(torch.cat([first, block.layers[1](first).relu()], dim=1))
    reads = {'all': sources, 'hl': [sources[0], sources[-1]], 'h': sources[-1:]}[level]
    torch.testing.assert_close(optimizer.state[network.bottleneck.weight]['input_mean'],
                               torch.cat(reads, dim=1).mean((0, 2, 3)))
    assert not any(module._forward_pre_hooks for module in network.modules())
    # Between measurements the means stay.
    before = optimizer.state[network.bottleneck.weight]['input_mean'].clone()
    runner.iter = 21
    hook.before_train_iter(runner, 21, dict(inputs=[2 * image for image in images]))
    assert torch.equal(optimizer.state[network.bottleneck.weight]['input_mean'], before)
