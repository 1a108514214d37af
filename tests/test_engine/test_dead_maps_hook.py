# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Dead maps are counted as they are, said, and nothing else changes."""
import copy
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook
from plain_srdensenet import PlainSRDenseNet
from tiny_training import tiny_config
from torch import nn

from srdensenet_mm.engine import CentreInputsHook, DeadMapsHook, MuonWithAdam, ReviveHook
from srdensenet_mm.engine.hooks.dead_maps_hook import dead_maps
from srdensenet_mm.engine.running import load_config, train
from srdensenet_mm.models import LIIFSRDenseNet, SRDenseNet
from srdensenet_mm.models.dead_maps import behind_conv_first, revive, which_dead

SMALL = dict(upscale_factor=2, mid_channels=8, num_blocks=3, num_layers=2, growth_rate=4,
             bottleneck_channels=4)


def network_with_dead_maps(level: str) -> SRDenseNet:
    """One map of ``conv_first`` and the second layer of the second block never answer."""
    torch.manual_seed(0)
    network = SRDenseNet(**SMALL, feature_level=level)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.3)
                nn.init.constant_(module.bias, 0.3)
        for layer, maps in ((network.conv_first, slice(3, 4)),
                            (network.blocks[1].layers[1], slice(None))):
            layer.weight[maps] = 0
            layer.bias[maps] = -1
    return network


@pytest.mark.parametrize('level', ['all', 'hl', 'h'])
def test_the_shares_are_those_of_the_plain_network(level):
    network = network_with_dead_maps(level).train()
    images = torch.rand(2, 1, 8, 8)
    shares = dead_maps(network, images)
    plain, seen = PlainSRDenseNet(**SMALL, feature_level=level), {}
    plain.load_state_dict(network.state_dict())
    plain.conv_first.register_forward_hook(
        lambda module, args, out: seen.update(conv_first=out.relu()))
    for number, block in enumerate(plain.blocks):
        block.register_forward_hook(
            lambda module, args, out, number=number: seen.update({f'blocks.{number}': out}))
    plain(images)
    assert shares == pytest.approx(
        {part: float((maps.amax((0, 2, 3)) == 0).float().mean()) for part, maps in seen.items()})
    assert shares['conv_first'] >= 1 / 8 and shares['blocks.1'] >= 0.5
    # Colour images go to a network on luma as their luma.
    assert dead_maps(network, images.expand(-1, 3, -1, -1)) == dead_maps(
        network, (16 + 219 * images) / 255)
    assert network.training and not any(
        module._forward_hooks for module in network.modules())


def test_a_network_of_a_gan_is_named_and_a_death_is_said_once(caplog):
    model = nn.ModuleDict(dict(generator=network_with_dead_maps('all'), other=nn.Identity()))
    model.data_preprocessor = lambda data, training: data
    model.generator_ema = network_with_dead_maps('all').requires_grad_(False)
    scalars = []
    logger = logging.getLogger('test_dead_maps')
    runner = SimpleNamespace(
        model=model, iter=0, logger=logger, visualizer=SimpleNamespace(
            add_scalars=lambda values, step: scalars.append((step, values))))
    hook = DeadMapsHook(interval=5, warn_at=0.5)
    batch = dict(inputs=[torch.rand(1, 8, 8), torch.rand(1, 8, 8)])
    with caplog.at_level(logging.WARNING, logger='test_dead_maps'):
        for runner.iter in range(10):
            hook.after_train_iter(runner, runner.iter, batch)
        for part in (model.generator.conv_first, model.generator.blocks[2].layers[1]):
            nn.init.zeros_(part.weight)
            nn.init.constant_(part.bias, -1)
        runner.iter = 14
        hook.after_train_iter(runner, runner.iter, batch)
    assert [step for step, _ in scalars] == [1, 5, 10, 15]
    assert scalars[0][1].keys() == {f'dead_maps/{part}' for part in (
        'conv_first', 'blocks.0', 'blocks.1', 'blocks.2')}
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2
    assert warned[0].startswith('blocks.1 is dead') and 'iteration 1,' in warned[0]
    assert 'training began with' in warned[0] and 'Begin again' not in warned[0]
    assert warned[1].startswith('conv_first, blocks.2 are dead: at least 50%')
    assert 'iteration 15,' in warned[1] and 'Begin again' in warned[1]


def test_a_training_stays_the_same_to_the_bit(tmp_path):
    losses = {}
    for name, hooks in dict(without=(), with_it=[dict(
            type='mmagic.DeadMapsHook', interval=2)]).items():
        folder = tmp_path / name
        folder.mkdir()
        cfg = load_config(
            str(tiny_config(folder, max_iters=6, interval=6, num_workers=0, more_hooks=hooks)),
            work_dir=str(folder / 'work'))
        cfg.experiment_name = f'dead_maps_{name}'  # else the second's, and one within it is shared
        train(cfg)
        losses[name] = (folder / 'losses.txt.0').read_text()
    assert losses['with_it'] == losses['without']
    scalars = [json.loads(line) for file in (tmp_path / 'with_it').rglob('scalars.json')
               for line in file.read_text().splitlines()]
    assert [entry['step'] for entry in scalars if 'dead_maps/conv_first' in entry] == [1, 2, 4, 6]


@pytest.mark.parametrize('level', ['all', 'hl', 'h'])
def test_revived_maps_live_and_the_output_stays(level):
    network = network_with_dead_maps(level).eval()
    images = torch.rand(4, 1, 12, 12)
    before, dead = network(images), which_dead(network, images)
    kept = {name: weight.clone() for name, weight in network.named_parameters()}
    revive(network, list(dead.values()))
    assert torch.allclose(network(images), before, atol=1e-5 * before.abs().max().item())
    assert dead['conv_first'].any() and dead['blocks.1'].sum() >= 4
    now = which_dead(network, images)
    assert not now['conv_first'].any() and now['blocks.1'].sum() < dead['blocks.1'].sum()
    # Live kernels are as they were, but for what they read of dead maps.
    alive = ~dead['conv_first']
    assert torch.equal(network.conv_first.weight[alive], kept['conv_first.weight'][alive])
    network(images).square().sum().backward()
    assert (network.bottleneck.weight.grad.abs().sum((0, 2, 3)) > 0).float().mean() > 0.9


def test_revival_keeps_the_drawing_and_reaches_averages_and_momentum(caplog):
    model = nn.ModuleDict(dict(generator=network_with_dead_maps('all')))
    model.data_preprocessor = lambda data, training: data
    images = [torch.rand(1, 8, 8) for _ in range(5)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0., momentum=0.9)
    model.generator(torch.stack(images)).sum().backward()
    optimizer.step()
    for state in optimizer.state.values():
        state['momentum_buffer'].fill_(1)
    averages = EMAHook()
    averages.ema_model = SimpleNamespace(module=copy.deepcopy(model))
    logger = logging.getLogger('test_revive')
    runner = SimpleNamespace(
        model=model, iter=7, logger=logger, hooks=[averages],
        optim_wrapper=SimpleNamespace(optimizer=optimizer),
        train_loop=SimpleNamespace(dataloader=SimpleNamespace(
            dataset=[dict(inputs=image) for image in images])))
    hook, batch = ReviveHook(), dict(inputs=images[:2])
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    # A training is resumed as it was.
    hook.before_train_iter(runner, 7, batch)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    runner.iter = 0
    torch.manual_seed(3)
    np.random.seed(3)
    with caplog.at_level(logging.INFO, logger='test_revive'):
        hook.before_train_iter(runner, 0, batch)
    drawn = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    assert drawn == (torch.rand(1), np.random.rand())
    assert 'conv_first 1 of 8, blocks.0 0 of 8, blocks.1 4 of 8' in caplog.text
    changed = {name for name, weight in model.named_parameters()
               if not torch.equal(weight, before[name])}
    assert 'generator.blocks.1.layers.1.weight' in changed
    assert 'generator.upsampler.deconvs.0.weight' not in changed
    for name, weight in model.named_parameters():
        new = weight != before[name]
        assert torch.equal(averages.ema_model.module.get_parameter(name), weight)
        assert torch.equal(optimizer.state[weight]['momentum_buffer'], 1. - new.float())
    # Later, where it is asked for.
    with torch.no_grad():
        model.generator.blocks[2].layers[1].bias.fill_(-100)
    runner.iter = 14
    ReviveHook(interval=7).before_train_iter(runner, 14, batch)
    assert model.generator.blocks[2].layers[1].bias.abs().max() == 0


def test_a_network_of_any_scale_is_kept_alive_too():
    torch.manual_seed(0)
    network = LIIFSRDenseNet(
        dict(type='SRDenseNet', mid_channels=16, num_blocks=2, num_layers=2, growth_rate=16,
             bottleneck_channels=16), dict(type='MLPRefiner', out_dim=1, hidden_list=[16]))
    model = nn.ModuleDict(dict(generator=network))
    model.data_preprocessor = lambda data, training: data
    with torch.no_grad():
        network.blocks[1].layers[0].bias.fill_(-100)
    images = [torch.rand(1, 8, 9) for _ in range(4)]
    runner = SimpleNamespace(
        model=model, iter=0, logger=logging.getLogger('test_liif'), hooks=[],
        optim_wrapper=SimpleNamespace(optimizer=MuonWithAdam(model.parameters(), lr=0.)),
        train_loop=SimpleNamespace(dataloader=SimpleNamespace(
            dataset=[dict(inputs=image) for image in images])))
    maps = network.gen_feature(torch.stack(images))
    for hook in (ReviveHook(), CentreInputsHook()):
        hook.before_train_iter(runner, 0, dict(inputs=images))
    torch.testing.assert_close(network.gen_feature(torch.stack(images)), maps)
    assert network.blocks[1].layers[0].bias.abs().max() == 0
    seen = []
    network.blocks[1].layers[1].register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    network.gen_feature(torch.stack(images))
    state = runner.optim_wrapper.optimizer.state
    torch.testing.assert_close(
        state[network.blocks[1].layers[1].weight]['input_mean'], seen[0].mean((0, 2, 3)))
    assert all('input_mean' in state[conv.weight] for conv in behind_conv_first(network))
