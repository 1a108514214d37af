# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from rounding import assert_same_sums, terms
from torch import nn

from srdensenet_mm.engine import AutocastOptimWrapper
from srdensenet_mm.engine.optimizers import amp_optim_wrapper
from srdensenet_mm.engine.optimizers.amp_optim_wrapper import choose_dtype, enable_amp
from srdensenet_mm.errors import UserError


def _network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 3))


def _wrap(network, cls=AutocastOptimWrapper, lr=0.1, **kwargs):
    return cls(optimizer=torch.optim.SGD(network.parameters(), lr=lr), **kwargs)


def _one_step(network, wrapper, x):
    with wrapper.optim_context(network):
        y = network(x)
    wrapper.update_params(y.float().pow(2).mean())
    return y


def test_bf16_computes_in_bf16_and_keeps_fp32_weights():
    network, x = _network(), torch.rand(2, 1, 12, 12)
    reference = _network()
    y = _one_step(network, _wrap(network, dtype='bf16'), x)
    y_reference = _one_step(reference, _wrap(reference, OptimWrapper), x)
    assert y.dtype is torch.bfloat16 and y_reference.dtype is torch.float32
    for p, q in zip(network.parameters(), reference.parameters(), strict=True):
        assert p.dtype is torch.float32
        # bf16 has 8 bits: close, and not the same.
        assert torch.allclose(p, q, atol=2e-2)
    assert any(not torch.equal(p, q)
               for p, q in zip(network.parameters(), reference.parameters(), strict=True))


def test_fp32_is_the_plain_wrapper():
    network, reference, x = _network(), _network(), torch.rand(2, 1, 12, 12)
    _one_step(network, _wrap(network, dtype='fp32', clip_grad=dict(max_norm=1e-3)), x)
    _one_step(reference, _wrap(reference, OptimWrapper, clip_grad=dict(max_norm=1e-3)), x)
    for p, q in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.equal(p, q)


def test_clipping_bounds_the_step():
    network, x = _network(), torch.rand(2, 1, 12, 12)
    before = [p.detach().clone() for p in network.parameters()]
    _one_step(network, _wrap(network, dtype='bf16', lr=1., clip_grad=dict(max_norm=1e-3)), x)
    step = torch.cat([(p.detach() - q).flatten()
                      for p, q in zip(network.parameters(), before, strict=True)]).norm()
    assert float(step) == pytest.approx(1e-3, rel=1e-2)


def test_accumulated_steps_are_one_step_on_the_mean():
    network, reference = _network(), _network()
    x = torch.rand(4, 1, 12, 12)
    wrapper = _wrap(network, dtype='fp32', accumulative_counts=2)
    _one_step(network, wrapper, x[:2])
    for p, q in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.equal(p, q)
    _one_step(network, wrapper, x[2:])
    _one_step(reference, _wrap(reference, OptimWrapper), x)
    for p, q in zip(network.parameters(), reference.parameters(), strict=True):
        assert_same_sums(p, q, terms(network) + x.numel())


@pytest.mark.parametrize('native, expected', [(True, torch.bfloat16), (False, None)])
def test_auto_on_cpu_follows_the_processor(monkeypatch, native, expected):
    monkeypatch.setattr(amp_optim_wrapper, 'cpu_has_bf16', lambda: native)
    assert choose_dtype('auto', 'cpu') is expected


@pytest.mark.parametrize('native, expected', [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_on_gpu_prefers_bf16(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: native)
    assert choose_dtype('auto', 'cuda') is expected


@pytest.mark.parametrize('dtype, reason', [('fp16', 'needs a GPU'), ('int8', 'not supported')])
def test_impossible_types_are_refused(dtype, reason):
    with pytest.raises(UserError, match=reason):
        _wrap(_network(), dtype=dtype)


def test_state_travels_between_precisions():
    network = _network()
    wrapper = _wrap(network, dtype='bf16')
    plain = _wrap(network, OptimWrapper)
    fp16_state = {**plain.state_dict(), 'loss_scaler': dict(
        scale=1024., growth_factor=2., backoff_factor=.5, growth_interval=2, _growth_tracker=0)}
    assert 'loss_scaler' not in wrapper.state_dict()
    for state in (plain.state_dict(), wrapper.state_dict(), fp16_state):
        wrapper.load_state_dict(state)
    plain.load_state_dict(wrapper.state_dict())


@pytest.mark.parametrize('loss_scale, begin, kept', [
    (512., dict(init_scale=512.), 512.), (dict(init_scale=2.), dict(init_scale=2.), None),
    ('dynamic', {}, None)])
def test_what_losses_are_scaled_by(monkeypatch, loss_scale, begin, kept):
    calls = []

    class Scaler:

        def __init__(self, device, enabled, **kwargs):
            calls.append(kwargs)

        def is_enabled(self):
            return True

        def step(self, optimizer):
            pass

        def update(self, scale):
            calls.append(scale)

    monkeypatch.setattr(torch.amp, 'GradScaler', Scaler)
    _wrap(_network(), dtype='fp16', device_type='cuda', loss_scale=loss_scale).step()
    assert calls == [begin, kept]


def test_enable_amp_reaches_every_wrapper():
    optimizer = dict(type='Adam', lr=1e-4)
    single = Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer)))
    untyped = Config(dict(optim_wrapper=dict(optimizer=optimizer)))
    several = Config(dict(optim_wrapper=dict(
        constructor='MultiOptimWrapperConstructor',
        generator=dict(type='OptimWrapper', optimizer=optimizer),
        discriminator=dict(type='AmpOptimWrapper', optimizer=optimizer))))
    for cfg in (single, untyped, several):
        enable_amp(cfg)
    assert single.optim_wrapper.type == untyped.optim_wrapper.type == 'mmagic.AutocastOptimWrapper'
    assert several.optim_wrapper.generator.type == 'mmagic.AutocastOptimWrapper'
    assert several.optim_wrapper.discriminator.type == 'AmpOptimWrapper'
    assert several.optim_wrapper.constructor == 'MultiOptimWrapperConstructor'


def test_enable_amp_names_what_it_cannot_do():
    wrapper = dict(type='ApexOptimWrapper', optimizer=dict(type='Adam'))
    with pytest.raises(UserError, match='Apex'):
        enable_amp(Config(dict(optim_wrapper=wrapper)))
