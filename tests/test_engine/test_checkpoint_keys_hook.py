# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from srdensenet_mm.checkpoints.layouts import LAYOUT_A, LAYOUT_B, OURS
from srdensenet_mm.engine import CheckpointKeysHook
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet


def nested(*names):
    """A network whose only part has others around it, of these names."""
    module = nn.Linear(2, 3)
    for name in reversed(names):
        module = nn.ModuleDict({name: module})
    return module


def load(model, checkpoint):
    checkpoint.setdefault('meta', {})
    CheckpointKeysHook().after_load_checkpoint(
        SimpleNamespace(model=model, _load_from='iter_2.pth'), checkpoint)
    return checkpoint


@pytest.mark.parametrize('names', [('conv',), ('module',), ('conv', 'module')])
def test_parts_that_were_wrapped_one_by_one(names):
    """What MMSeparateDistributedDataParallel and a plain Runner leave, and what we do."""
    model = nn.ModuleDict(dict(generator=nested(*names), discriminator=nested(*names)))
    ours = {key: value + 1 for key, value in model.state_dict().items()}
    averages = {'steps': torch.tensor(7), **{f'module.{key}': ours[key] for key in ours}}
    for inner in ('.', '.module.'):
        loaded = load(model, dict(
            state_dict={key.replace('.', inner, 1): value for key, value in ours.items()},
            ema_state_dict={
                re.sub(r'(module\.\w+)\.', rf'\1{inner}', key): averages[key] for key in averages}))
        assert loaded['state_dict'] == ours
        assert loaded['ema_state_dict'] == averages


def test_a_bare_networks_own_module_stays():
    network = nested('conv', 'module')
    weights = load(nn.ModuleDict(dict(generator=network)), dict(network.state_dict()))['state_dict']
    assert list(weights) == ['generator.conv.module.weight', 'generator.conv.module.bias']


@pytest.mark.parametrize(('layout', 'hint'), [
    (LAYOUT_A, 'tools/convert_checkpoint.py'), (LAYOUT_B, 'tools/convert_checkpoint.py'),
    (OURS, 'another upscale_factor or depth')])
def test_weights_that_do_not_fit_are_told_from_another_implementations(layout, hint):
    small = dict(num_blocks=1, num_layers=2, growth_rate=2, bottleneck_channels=2)
    model = nn.ModuleDict(dict(generator=SRDenseNet(mid_channels=3, **small)))
    weights = {layout.from_ours(key): value[None] for key, value in
               model['generator'].state_dict().items()}
    with pytest.raises(UserError, match=f'iter_2.pth: not one key and shape fits.*{hint}'):
        load(model, weights)
