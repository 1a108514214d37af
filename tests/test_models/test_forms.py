# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What relies on the modules inside a network being called, in either grad mode."""
import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from lively_weights import make_lively
from plain_srdensenet import PlainSRDenseNet
from rounding import assert_same_sums, terms
from torch import nn
from torch.nn.utils import parametrizations, prune

from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.fused import choice, computing
from srdensenet_mm.models.srdensenet import has_stock_parts

SMALL = dict(mid_channels=12, num_blocks=3, num_layers=3, growth_rate=4, bottleneck_channels=10)
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def _network(**kwargs):
    torch.manual_seed(0)
    return make_lively(SRDenseNet(**SMALL, **kwargs))


def _convolutions(net):
    return {name: module for name, module in net.named_modules()
            if isinstance(module, CONVOLUTIONS)}


def _by_effective_weights(net, **kwargs):
    """Another author's network with the weights that each convolution computes with."""
    plain = PlainSRDenseNet(**SMALL, **kwargs)
    state = {}
    for name, module in _convolutions(net).items():
        state |= {f'{name}.weight': module.weight, f'{name}.bias': module.bias}
    plain.load_state_dict({key: value.detach() for key, value in state.items()})
    return plain


def _assert_computes_with(net, plain):
    x = torch.rand(2, 1, 6, 5)
    expected = plain(x).detach()
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert_same_sums(net(x), expected, terms(net))


def _train(net, steps=3):
    """Train for some steps, and tell which parameters changed."""
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(net(torch.rand(2, 1, 6, 6)), torch.rand(2, 1, 24, 24)).backward()
        optimizer.step()
    return {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}


def _spied(monkeypatch):
    calls = []
    compute = choice.compute
    monkeypatch.setattr(choice, 'compute', lambda *args, **kwargs: calls.append(
        kwargs['form']) or compute(*args, **kwargs))
    return calls


def test_untouched_networks_take_the_fast_forms(monkeypatch):
    calls = _spied(monkeypatch)
    net, x = _network(), torch.rand(1, 1, 6, 5)
    net(x)
    with torch.no_grad():
        net(x)
        net.register_forward_hook(lambda *_: None)  # On the whole: called in any form.
        net(x)
    assert calls == ['trained', 'lean', 'lean']
    with computing('graph'), torch.no_grad():
        net(x)
    assert calls.pop() == 'traced'
    with computing('plain'):
        net(x)
    assert len(calls) == 3
    with pytest.raises(ValueError, match='fast'), computing('fast'):
        pass


@pytest.mark.parametrize('dtype', [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('kwargs', [
    dict(), dict(feature_level='hl', bottleneck_act=True), dict(deconv_kernel=3, upscale_factor=2)],
    ids=str)
def test_no_result_depends_on_the_form(kwargs, dtype):
    net, x = _network(**kwargs), torch.rand(2, 1, 9, 7)
    with torch.no_grad():
        exact = copy.deepcopy(net).double()(x.double())
        found = []
        for form in ('plain', 'graph', None):
            with (torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None),
                  computing(form) if form else torch.no_grad()):
                found.append(net(x))
    assert {y.dtype for y in found} == {torch.float32}
    eps = torch.finfo(dtype or torch.float32).eps
    for y in found:
        # A rounding for each of the layers that an output goes through, and a margin.
        assert (y - exact).abs().max() < 16 * eps * exact.abs().max()


@pytest.mark.parametrize('when', ['forward', 'forward_pre', 'full_backward', 'full_backward_pre'])
@pytest.mark.parametrize('everywhere', [False, True])
@pytest.mark.parametrize('kwargs', [dict(), dict(feature_level='hl')], ids=str)
def test_hooks_are_called(when, everywhere, kwargs):
    net = _network(**kwargs)
    plain = _by_effective_weights(net, **kwargs)
    names = {module: name for name, module in net.named_modules()
             if not isinstance(module, nn.ModuleList)}
    called = []

    def hook(module, *_):
        if module in names:
            called.append(names[module])

    if everywhere:
        add = getattr(nn.modules.module, f'register_module_{when}_hook')
        handles = [add(hook)]
    else:
        handles = [getattr(module, f'register_{when}_hook')(hook) for module in names]
    try:
        net(torch.rand(1, 1, 5, 6, requires_grad=True)).sum().backward()
        assert sorted(called) == sorted(names.values())
        if 'backward' not in when:
            with torch.no_grad():
                net(torch.rand(1, 1, 5, 6))
            assert len(called) == 2 * len(names)
    finally:
        for handle in handles:
            handle.remove()
    _assert_computes_with(net, plain)


def test_hooks_see_and_change_the_values():
    net, x = _network(), torch.rand(1, 1, 5, 6)
    seen = {}
    net.blocks[1].register_forward_hook(lambda module, args, out: seen.update(out=out))
    with torch.no_grad():
        whole = net(x)
        low = net.conv_first(x).relu()
        first = net.blocks[0](low)
        assert_same_sums(seen['out'], net.blocks[1](torch.cat([low, first], 1)), terms(net))
        net.blocks[1].register_forward_hook(lambda module, args, out: out * 0)
        assert (net(x) - whole).abs().max() > 1e-3


def _prune(net):
    for module in _convolutions(net).values():
        prune.l1_unstructured(module, 'weight', 0.5)


def _with_each(function):
    def touch(net):
        for module in _convolutions(net).values():
            function(module)
    return touch


@pytest.mark.filterwarnings('ignore:.*weight_norm.*:FutureWarning')
@pytest.mark.parametrize('touch', [
    _prune, _with_each(nn.utils.spectral_norm), _with_each(parametrizations.spectral_norm),
    _with_each(nn.utils.weight_norm), _with_each(parametrizations.weight_norm)],
    ids=['pruned', 'spectral_norm, old', 'spectral_norm', 'weight_norm, old', 'weight_norm'])
def test_reparametrized_weights_are_used_and_trained(touch):
    net = _network()
    touch(net)
    names = {name for name, _ in net.named_parameters()}
    assert _train(net) == names
    net.eval()
    with torch.no_grad():
        net(torch.rand(1, 1, 4, 4))  # The older ones set a weight when they are called.
    _assert_computes_with(net, _by_effective_weights(net))
    copied = _network()
    touch(copied)
    copied.load_state_dict(net.state_dict())
    x = torch.rand(1, 1, 7, 5)
    with torch.no_grad():
        torch.testing.assert_close(copied.eval()(x), net(x))


class _LoRA(nn.Conv2d):
    """A convolution with a small one of its own beside."""

    def __init__(self, old):
        super().__init__(old.in_channels, old.out_channels, 3, padding=1)
        self.weight, self.bias = old.weight, old.bias
        self.down = nn.Conv2d(old.in_channels, 2, 3, padding=1, bias=False)
        self.up = nn.Conv2d(2, old.out_channels, 1, bias=False)

    def forward(self, x):
        return super().forward(x) + self.up(self.down(x))

    def merged(self):
        return self.weight + torch.einsum('omij,mikl->oikl', self.up.weight, self.down.weight)


def test_a_layer_in_place_of_another_is_called():
    net = _network()
    lora = net.blocks[1].layers[0] = _LoRA(net.blocks[1].layers[0])
    assert not has_stock_parts(net)
    plain = PlainSRDenseNet(**SMALL)
    plain.load_state_dict(net.state_dict(), strict=False)
    plain.blocks[1].layers[0].weight.data = lora.merged().detach()
    _assert_computes_with(net, plain)


@pytest.mark.parametrize('new', [
    nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 5, padding=2),
    nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 3, padding=1, bias=False),
    nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect'),
    nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh())], ids=repr)
def test_other_settings_of_a_convolution_count(new):
    net = _network()
    net.blocks[1].layers[1] = new
    plain = _by_effective_weights(_network())
    plain.blocks[1].layers[1] = new
    _assert_computes_with(net, plain)


def test_another_forward_of_a_part_is_called():
    net, plain = _network(), _by_effective_weights(_network())
    for module in (net.blocks[0].layers[2], plain.blocks[0].layers[2]):
        module.forward = lambda x: x[:, :4] / 2
    _assert_computes_with(net, plain)


@pytest.mark.parametrize('everywhere', [False, True])
def test_another_sum_of_a_convolution_is_called(monkeypatch, everywhere):
    """As programs set it that make seamless textures."""
    def seamless(self, x, weight, bias):
        return F.conv2d(F.pad(x, (weight.size(-1) // 2, ) * 4, 'circular'), weight, bias)

    net, plain = _network(), _by_effective_weights(_network())
    if everywhere:
        monkeypatch.setattr(nn.Conv2d, '_conv_forward', seamless)
    for module in (net.conv_last, plain.conv_last):
        monkeypatch.setattr(module, '_conv_forward', seamless.__get__(module))
    _assert_computes_with(net, plain)


def test_a_batch_may_be_empty():
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert _network()(torch.rand(0, 1, 6, 5)).shape == (0, 1, 24, 20)


def test_channels_taken_out():
    net, plain = _network(), _by_effective_weights(_network())
    for conv in (plain.blocks[2].layers[2], ):
        conv.weight.data[-1] = conv.bias.data[-1] = 0
    conv = net.blocks[2].layers[2]
    conv.weight, conv.bias = nn.Parameter(conv.weight[:-1]), nn.Parameter(conv.bias[:-1])
    net.bottleneck.weight = nn.Parameter(net.bottleneck.weight[:, :-1])
    _assert_computes_with(net, plain)


def test_changed_weights_are_noticed():
    net = _network()
    other = [_network().state_dict() for _ in range(3)]
    for state in other:
        for value in state.values():
            value.mul_(torch.rand(()) + 0.5)
    x = torch.rand(1, 1, 5, 6)
    with torch.no_grad():
        net(x)
        net.load_state_dict(other[0])
        _assert_computes_with(net, _by_effective_weights(net))
        for parameter, value in zip(net.parameters(), other[1].values(), strict=True):
            parameter.data = value
        _assert_computes_with(net, _by_effective_weights(net))
        for parameter in net.parameters():
            parameter.mul_(1.1)
        _assert_computes_with(net, _by_effective_weights(net))
        plain = PlainSRDenseNet(**SMALL)
        plain.load_state_dict(other[2])
        found = torch.func.functional_call(net, other[2], (x, ))
        assert_same_sums(found, plain(x), terms(net))
        _assert_computes_with(copy.deepcopy(net), _by_effective_weights(net))


def test_functions_of_torch_func():
    net, x = _network(), torch.rand(3, 1, 5, 6)
    one = torch.rand(5, 6)
    plain = _by_effective_weights(net)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            each = torch.func.vmap(lambda image: net(image[None])[0])(x)
            assert_same_sums(each, plain(x), terms(net))
            _, found = torch.func.jvp(net, (x, ), (one.expand_as(x), ))
            _, expected = torch.func.jvp(plain, (x, ), (one.expand_as(x), ))
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::UserWarning')
def test_observers_of_quantization_see_every_layer():
    from torch.ao import quantization
    net = _network().eval()
    net.qconfig = quantization.default_qconfig
    prepared = quantization.prepare(net)
    with torch.no_grad():
        prepared(torch.rand(1, 1, 8, 8))
    observers = [module.activation_post_process for module in prepared.modules()
                 if hasattr(module, 'activation_post_process')]
    assert len(observers) >= len(_convolutions(net)) - len(net.upsampler.deconvs)
    assert all(observer.min_val.isfinite().all() for observer in observers)


@pytest.mark.parametrize('kwargs', [dict(), dict(feature_level='h', deconv_kernel=3)], ids=str)
@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('grad', [False, True])
def test_exported_programs_take_any_size(kwargs, strict, grad):
    net = _network(**kwargs).eval()
    plain = _by_effective_weights(net, **kwargs)
    sizes = {axis: torch.export.Dim(name, min=1, max=4096)
             for axis, name in ((0, 'batch'), (2, 'height'), (3, 'width'))}
    with torch.set_grad_enabled(grad):
        program = torch.export.export(
            net, (torch.rand(2, 1, 13, 17), ), dynamic_shapes=(sizes, ), strict=strict)
    for shape in ((1, 1, 9, 12), (3, 1, 1, 30), (1, 1, 1, 1)):
        x = torch.rand(shape)
        assert_same_sums(program.module()(x), plain(x), terms(net))


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('dynamo', [False, True])
def test_torchs_own_onnx_exporters(tmp_path, dynamo):
    pytest.importorskip('onnx')
    onnxruntime = pytest.importorskip('onnxruntime')
    if dynamo:
        pytest.importorskip('onnxscript')
    net, target = _network().eval(), str(tmp_path / 'net.onnx')
    axes = {0: 'batch', 2: 'height', 3: 'width'}
    sizes = dict(dynamic_shapes=(axes, )) if dynamo else dict(dynamic_axes=dict(x=axes))
    with torch.no_grad():
        torch.onnx.export(net, (torch.rand(2, 1, 13, 17), ), target, input_names=['x'],
                          dynamo=dynamo, **sizes)
        session = onnxruntime.InferenceSession(target, providers=['CPUExecutionProvider'])
        for shape in ((1, 1, 9, 12), (3, 1, 5, 30)):
            x = torch.rand(shape)
            found, = session.run(None, dict(x=x.numpy()))
            assert_same_sums(found, net(x), terms(net))


@pytest.mark.parametrize('grad', [False, True])
def test_traced_and_compiled_networks_take_any_size(grad):
    net = _network().eval()
    plain = _by_effective_weights(net)
    with torch.set_grad_enabled(grad):
        forms = [torch.jit.trace(net, torch.rand(1, 1, 5, 4)), torch.fx.symbolic_trace(net),
                 # One graph, with nothing that it cannot hold.
                 torch.compile(net, backend='aot_eager', fullgraph=True, dynamic=True)]
        for form, shape in itertools.product(forms, ((1, 1, 9, 12), (3, 1, 5, 30))):
            x = torch.rand(shape)
            assert_same_sums(form(x), plain(x), terms(net))
